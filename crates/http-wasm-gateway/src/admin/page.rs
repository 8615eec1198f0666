//! The status page: three embedded files, without external resources.

/// What a browser may load and do for the page: its own style and script, and requests for `/status`.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; \
     img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The style sheet of the status page, for pages in the same style.
pub const STATUS_PAGE_STYLE: &str = include_str!("page/style.css");

/// The file at this path, with its media type.
pub(super) fn asset(path: &str) -> Option<(&'static str, &'static str)> {
    match path {
        "/" => Some(("text/html; charset=utf-8", include_str!("page/index.html"))),
        "/style.css" => Some(("text/css; charset=utf-8", STATUS_PAGE_STYLE)),
        "/script.js" => Some(("text/javascript; charset=utf-8", include_str!("page/script.js"))),
        _ => None,
    }
}
