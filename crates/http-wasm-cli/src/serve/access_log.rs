//! `--access-log`: one line per request.

use http_wasm_gateway::config::{AccessLog, AccessLogFormat};
use http_wasm_tower::choices;

/// Whether requests are logged, and in which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestLog {
    Off,
    Json,
    Combined,
}

choices! { RequestLog { Off = "off", Json = "json", Combined = "combined" } }

impl RequestLog {
    /// The access log, which is on by default on a terminal.
    pub(crate) fn resolve(flag: Option<Self>, is_terminal: bool) -> Option<AccessLog> {
        let default = if is_terminal { Self::Combined } else { Self::Off };
        let format = match flag.unwrap_or(default) {
            Self::Off => return None,
            Self::Json => AccessLogFormat::Json,
            Self::Combined => AccessLogFormat::Combined,
        };
        Some(AccessLog { format, file: None })
    }
}

#[cfg(test)]
mod tests {
    use http_wasm_gateway::config::AccessLogFormat;

    use super::RequestLog;

    #[test]
    fn requests_are_logged_on_a_terminal_unless_a_flag_says_otherwise() {
        let format = |flag, is_terminal| RequestLog::resolve(flag, is_terminal).map(|log| log.format);
        assert_eq!(format(None, true), Some(AccessLogFormat::Combined));
        assert_eq!(format(None, false), None);
        for is_terminal in [true, false] {
            assert_eq!(format(Some(RequestLog::Off), is_terminal), None);
            assert_eq!(format(Some(RequestLog::Json), is_terminal), Some(AccessLogFormat::Json));
        }
    }
}
