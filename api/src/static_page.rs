//! A page that is the same for every caller: rendered, stored and compressed once.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_server::SharedBody;
use poem::http::{HeaderMap, StatusCode, header};
use poem::{Body, Endpoint, Request, Response};
use tokio::sync::OnceCell;

use crate::digest;
use crate::entity_tag::{has, listed};
use crate::problem::Problem;

/// How long a browser may show it without asking; a new release changes it.
const CACHED: &str = "public, max-age=300";

/// A page that is rendered at the first request.
#[derive(Clone)]
pub(crate) struct StaticPage {
    content_type: &'static str,
    make: Arc<dyn Fn() -> String + Send + Sync>,
    made: Arc<OnceCell<RenderedPage>>,
}

struct RenderedPage {
    plain: Bytes,
    gzip: Bytes,
    /// The page's digest, sent as `ETag`.
    digest: String,
}

impl StaticPage {
    /// A page of this media type; `make` may take a second.
    pub(crate) fn new(content_type: &'static str, make: impl Fn() -> String + Send + Sync + 'static) -> Self {
        StaticPage { content_type, make: Arc::new(make), made: Arc::default() }
    }

    async fn made(&self) -> Result<&RenderedPage, Problem> {
        let making = || async {
            let make = Arc::clone(&self.make);
            // On another thread than the one that answers callbacks.
            let made = tokio::task::spawn_blocking(move || RenderedPage::of(make())).await;
            made.map_err(|_panic| Problem::internal())?.map_err(|_defect| Problem::internal())
        };
        self.made.get_or_try_init(making).await
    }
}

impl RenderedPage {
    fn of(page: String) -> io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(page.as_bytes())?;
        Ok(RenderedPage { digest: digest::sha256_hex(&page), plain: page.into(), gzip: encoder.finish()?.into() })
    }
}

impl Endpoint for StaticPage {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let made = self.made().await?;
        let is_gzip = takes_gzip(request.headers());
        let (body, suffix) = if is_gzip { (&made.gzip, "-gzip") } else { (&made.plain, "") };
        let tag = format!("\"{}{suffix}\"", made.digest);
        let mut response = Response::builder()
            .header(header::CACHE_CONTROL, CACHED)
            .header(header::ETAG, &tag)
            .header(header::VARY, header::ACCEPT_ENCODING.as_str());
        if has(request.headers(), &tag) {
            return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
        }
        if is_gzip {
            response = response.header(header::CONTENT_ENCODING, "gzip");
        }
        // Shared: many slow readers still hold only one copy.
        Ok(response.content_type(self.content_type).extension(SharedBody).body(Body::from_bytes(body.clone())))
    }
}

/// Whether the caller accepts gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    listed(headers, header::ACCEPT_ENCODING).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = quality.trim().strip_prefix("q=").unwrap_or("1");
        let is_refused = !quality.is_empty() && quality.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    })
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    #[test]
    fn gzip_is_sent_only_to_callers_that_accept_it() {
        for (said, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("gzip;q=1.0", true),
            ("gzip;q=0", false),
            ("gzip; q=0.00", false),
            ("br, x-gzip", false),
            ("identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(said));

            assert_eq!(takes_gzip(&headers), expected, "{said}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
