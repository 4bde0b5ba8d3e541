//! Cursors: where the next page of a list begins, as a text that only we read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::id::OrderId;
use domain::shop::ShopName;
use serde_json::json;
use sha2::{Digest, Sha256};
use store::order_list::{ListPosition, OrderFilter};

use crate::problem::{Problem, ProblemType};

/// The form of the text; another release may have another.
const VERSION: u8 = 1;

/// How many bytes of the filter's digest a cursor has.
const DIGEST: usize = 8;

/// The whole text, before Base64: version, digest, time and number.
const LENGTH: usize = 1 + DIGEST + 8 + 8;

/// The filter of a list, by which a cursor of another list is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ListDigest([u8; DIGEST]);

impl ListDigest {
    /// Of a shop's list with this filter. It never changes for the same filter, whatever the release.
    pub(super) fn of(shop: &ShopName, filter: &OrderFilter) -> Self {
        let mut statuses: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        let list = json!([
            shop,
            statuses,
            filter.payment_type,
            filter.since_ms,
            filter.until_ms,
            filter.amount_from.map(|amount| amount.get()),
            filter.amount_to.map(|amount| amount.get()),
            filter.reference,
            filter.transaction,
            filter.needs_review,
            filter.words.text(),
        ]);
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&Sha256::digest(list.to_string())[..DIGEST]);
        ListDigest(digest)
    }
}

/// The text of a place in a list.
pub(super) fn write(list: ListDigest, position: ListPosition) -> String {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.push(VERSION);
    bytes.extend(list.0);
    bytes.extend(position.created_at_ms.to_be_bytes());
    bytes.extend(position.id.0.to_be_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place in this list.
///
/// # Errors
/// [`ProblemType::InvalidCursor`] for a text that we did not write, and for a place in another list.
pub(super) fn read(list: ListDigest, text: &str) -> Result<ListPosition, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| unusable())?;
    let bytes: [u8; LENGTH] = bytes.try_into().map_err(|_| unusable())?;
    let number = |from: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&bytes[from..from + 8]);
        i64::from_be_bytes(number)
    };
    match bytes[0] == VERSION && bytes[1..=DIGEST] == list.0 {
        true => Ok(ListPosition { created_at_ms: number(1 + DIGEST), id: OrderId(number(1 + DIGEST + 8)) }),
        false => Err(unusable()),
    }
}

/// A cursor that does not belong to the list.
pub(crate) fn unusable() -> Problem {
    Problem::with_parameter(
        ProblemType::InvalidCursor,
        "cursor",
        "`cursor` must be the `next` of a page with the same filters; leave it out to begin anew",
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(reference: Option<&str>) -> ListDigest {
        let filter = OrderFilter { reference: reference.map(str::to_owned), ..OrderFilter::default() };
        ListDigest::of(&ShopName::default(), &filter)
    }

    #[test]
    fn a_cursor_belongs_to_one_list() {
        let position = ListPosition { created_at_ms: 5, id: OrderId(7) };
        let cursor = write(list(None), position);

        assert_eq!(read(list(None), &cursor).unwrap(), position);
        assert!(read(list(Some("A-17")), &cursor).is_err());
        let elsewhere = ListDigest::of(&ShopName::parse("tea").unwrap(), &OrderFilter::default());
        assert!(read(elsewhere, &cursor).is_err());
        for other in ["", "1", "!", &cursor[1..], &format!("{cursor}AAAA")] {
            assert!(read(list(None), other).is_err(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_place_is_read_back(created_at_ms: i64, id: i64) {
            let position = ListPosition { created_at_ms, id: OrderId(id) };
            prop_assert_eq!(read(list(None), &write(list(None), position)).unwrap(), position);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            let _ = read(list(None), &text);
        }
    }
}
