//! An answer that a client may keep and ask for again by its tag.

use poem::http::{HeaderMap, HeaderValue, header};
use poem_openapi::ApiResponse;
use poem_openapi::payload::Json;
use poem_openapi::types::ToJSON;

use crate::entity_tag;

/// A caller may keep the answer, and no proxy; before it is used again, we are asked whether it still holds.
const CACHING: &str = "private, no-cache";

/// The answer to a `GET`, with its tag.
#[derive(ApiResponse)]
pub(crate) enum ReadAnswer<T: ToJSON> {
    /// As it is now.
    #[oai(status = 200)]
    Whole(
        Json<T>,
        /** Names this answer; send it as `If-None-Match` the next time. */
        #[oai(header = "ETag")]
        String,
        /** `private, no-cache`: keep it, and ask before you use it again. */
        #[oai(header = "Cache-Control")]
        String,
    ),
    /// As the client has it, by its `If-None-Match`; there is no body.
    #[oai(status = 304)]
    Unchanged(
        /** The tag that was sent. */
        #[oai(header = "ETag")]
        String,
        /** `private, no-cache`: keep it, and ask before you use it again. */
        #[oai(header = "Cache-Control")]
        String,
    ),
}

impl<T: ToJSON> ReadAnswer<T> {
    /// This content, unless the client has it.
    pub(crate) fn new(content: T, if_none_match: Option<&str>) -> Self {
        let tag = entity_tag::of_body(&content.to_json_string());
        let mut headers = HeaderMap::new();
        if let Some(known) = if_none_match.and_then(|known| HeaderValue::from_str(known).ok()) {
            headers.insert(header::IF_NONE_MATCH, known);
        }
        match entity_tag::has(&headers, &tag) {
            true => ReadAnswer::Unchanged(tag, CACHING.to_owned()),
            false => ReadAnswer::Whole(Json(content), tag, CACHING.to_owned()),
        }
    }
}
