//! Answers `hello world` to everything.

use http::{Response, StatusCode};

use super::plain_text;
use crate::body::BoxBody;

pub(super) fn respond() -> Response<BoxBody> {
    plain_text(StatusCode::OK, "hello world")
}
