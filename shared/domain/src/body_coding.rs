//! The encodings around a body's text, in requests and answers: content codings and a byte order mark.

use std::io::{self, Read};

use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// The content codings that [`decoded`] can undo, as the header `Accept-Encoding` names them.
pub const CODINGS: &str = "gzip, deflate, identity";

/// No honest body has more codings than this, one within another.
const MOST_CODINGS: usize = 3;

/// The first two bytes of all gzip data (RFC 1952 §2.3.1).
const GZIP_BEGINS: [u8; 2] = [0x1f, 0x8b];

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a body cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodingFault {
    /// It was written in a coding that is not one of [`CODINGS`].
    #[error("its content coding is not known")]
    Unknown,
    /// It does not match its coding, or is incomplete.
    #[error("its content coding is broken")]
    Broken,
    /// It is above its limit once decoded.
    #[error("decoded, it is above its limit")]
    TooLarge,
}

/// Undoes the codings that the header `Content-Encoding` names (RFC 9110 §8.4), up to `limit` bytes. A small body that
/// expands to a large one is refused at the limit, and takes no more memory than that.
///
/// A body that claims `gzip` and is none is taken as it is: a proxy on its way decoded it and left the header.
///
/// # Errors
/// [`CodingFault`].
pub fn decoded(content_encoding: Option<&str>, bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, CodingFault> {
    let named = content_encoding.unwrap_or_default().split(',').map(str::trim).filter(|coding| !coding.is_empty());
    let codings: Vec<String> = named.map(str::to_ascii_lowercase).collect();
    if codings.len() > MOST_CODINGS {
        return Err(CodingFault::Unknown);
    }
    codings.iter().rev().try_fold(bytes, |bytes, coding| match coding.as_str() {
        "identity" => Ok(bytes),
        "gzip" | "x-gzip" if !bytes.starts_with(&GZIP_BEGINS) => Ok(bytes),
        "gzip" | "x-gzip" => within(MultiGzDecoder::new(bytes.as_slice()), limit),
        "deflate" => within(ZlibDecoder::new(bytes.as_slice()), limit),
        _ => Err(CodingFault::Unknown),
    })
}

fn within(decoder: impl Read, limit: usize) -> Result<Vec<u8>, CodingFault> {
    let mut bytes = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(one_more).read_to_end(&mut bytes).map_err(|_: io::Error| CodingFault::Broken)?;
    match bytes.len() > limit {
        true => Err(CodingFault::TooLarge),
        false => Ok(bytes),
    }
}

/// The text without the byte order mark that some UTF-8 writers put before it; a JSON reader may ignore it (RFC 8259
/// §8.1).
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_body_is_read_through_the_codings_that_its_header_names() {
        let text = b"{\"amount\":5000}";
        for (header, bytes) in [
            (None, text.to_vec()),
            (Some(""), text.to_vec()),
            (Some("identity"), text.to_vec()),
            (Some("gzip"), gzip(text)),
            (Some("GZip"), gzip(text)),
            (Some("x-gzip"), gzip(text)),
            (Some("deflate"), deflate(text)),
            (Some("deflate, gzip"), gzip(&deflate(text))),
            (Some("gzip"), [gzip(&text[..5]), gzip(&text[5..])].concat()),
            // A proxy decoded it and left the header.
            (Some("gzip"), text.to_vec()),
        ] {
            assert_eq!(decoded(header, bytes, 100).as_deref(), Ok(&text[..]), "{header:?}");
        }
    }

    #[test]
    fn what_cannot_be_decoded_says_why() {
        let whole = gzip(&[b' '; 1_000]);
        for (header, bytes, fault) in [
            ("br", b"x".to_vec(), CodingFault::Unknown),
            ("gzip, zstd", whole.clone(), CodingFault::Unknown),
            ("gzip, gzip, gzip, gzip", whole.clone(), CodingFault::Unknown),
            ("gzip", whole[..whole.len() - 9].to_vec(), CodingFault::Broken),
            ("deflate", b"{}".to_vec(), CodingFault::Broken),
            ("gzip", whole, CodingFault::TooLarge),
        ] {
            assert_eq!(decoded(Some(header), bytes, 999), Err(fault), "{header}");
        }
    }

    /// 64 MiB of blanks are 64 KiB of gzip.
    #[test]
    fn a_body_that_unfolds_without_end_is_given_up_at_its_limit() {
        let bomb = gzip(&vec![b' '; 64 * 1024 * 1024]);

        assert!(bomb.len() < 128 * 1024, "{}", bomb.len());
        assert_eq!(decoded(Some("gzip"), bomb, 8 * 1024), Err(CodingFault::TooLarge));
    }

    #[test]
    fn one_byte_order_mark_is_passed_over() {
        assert_eq!(without_byte_order_mark(b"\xef\xbb\xbf{}"), b"{}");
        assert_eq!(without_byte_order_mark(b"\xef\xbb\xbf\xef\xbb\xbf{}"), b"\xef\xbb\xbf{}");
        assert_eq!(without_byte_order_mark(b"{}"), b"{}");
        assert_eq!(without_byte_order_mark(b"\xef\xbb"), b"\xef\xbb");
    }
}
