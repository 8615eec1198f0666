//! The arguments of `http-wasm new`.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;

use super::language::{LANGUAGES, Language};

#[derive(Debug, clap::Args)]
pub(crate) struct NewArgs {
    /// Directory to create; its name is the guest's
    #[arg(value_name = "NAME", required_unless_present = "list")]
    pub(crate) directory: Option<PathBuf>,

    /// Language of the guest
    #[arg(long, value_name = "LANGUAGE", required_unless_present = "list",
        value_parser = PossibleValuesParser::new(LANGUAGES.iter().map(|language| language.name)))]
    pub(crate) lang: Option<String>,

    /// List the languages and what each needs, and exit
    #[arg(long, exclusive = true)]
    pub(crate) list: bool,
}

impl NewArgs {
    pub(super) fn language(&self) -> Option<&'static Language> {
        LANGUAGES.iter().find(|language| self.lang.as_deref() == Some(language.name))
    }
}
