//! The arguments of `http-wasm replay`.

use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// Recording to replay, as written by the gateway with `[record]` or `serve --record`
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// Guest to run instead of the recorded one; NAME=FILE if the recording has several; repeatable
    #[arg(long = "guest", value_name = "[NAME=]FILE")]
    pub(crate) guests: Vec<String>,

    /// Replay only the instances that served this exchange: the number in `_exchange`
    #[arg(long, value_name = "NUMBER")]
    pub(crate) exchange: Option<u32>,

    /// Show each call of the recorded exchanges
    #[arg(long)]
    pub(crate) trace: bool,

    /// Print JSON, one object per instance of a guest
    #[arg(long)]
    pub(crate) json: bool,
}

impl ReplayArgs {
    /// The file to run as the guest of this name, if it isn't the recorded one. A file without a name is for the only
    /// guest.
    pub(super) fn guest(&self, name: &str, is_only: bool) -> Option<PathBuf> {
        let file = self.guests.iter().find_map(|guest| match guest.split_once('=') {
            Some((its, file)) => (its == name).then_some(file),
            None => is_only.then_some(&**guest),
        });
        file.map(PathBuf::from)
    }

    /// The first `--guest` that matches none of these guests.
    pub(super) fn unknown_guest(&self, names: &[String]) -> Option<&str> {
        let is_known = |guest: &&String| match guest.split_once('=') {
            Some((name, _)) => names.iter().any(|its| its == name),
            None => names.len() == 1,
        };
        self.guests.iter().find(|guest| !is_known(guest)).map(String::as_str)
    }
}
