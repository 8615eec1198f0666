//! Responds with `hello world` to everything.

use http::{Response, StatusCode};

use crate::body::BoxBody;
use crate::exchange::plain_text;

pub(super) fn respond() -> Response<BoxBody> {
    plain_text(StatusCode::OK, "hello world")
}
