//! The first bytes of an HTTP/2 connection.

/// How clients start (RFC 9113 section 3.4).
pub(in crate::listener) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
