//! `http-wasm new`: creates a guest in a new directory.

mod args;
mod language;

use std::fs;
use std::io;
use std::path::Path;

use self::language::{EXAMPLE, LANGUAGES, Language};
use crate::args::ArgsError;
use crate::failure::{Failure, plain};
use crate::output::print;

pub(crate) use self::args::NewArgs;

/// Writes the files of a new guest, or lists the languages.
pub(crate) fn run(args: NewArgs) -> Result<(), Failure> {
    let (Some(directory), Some(language)) = (&args.directory, args.language()) else {
        let lines =
            LANGUAGES.iter().map(|language| format!("{:<16} needs {}\n", language.name, language.needs));
        return print(&lines.collect::<String>());
    };
    let name = name_of(directory)?;
    let files = files(language, &name);
    make(directory, &files)?;
    let paths: String = files.iter().map(|(path, _)| format!("  {path}\n")).collect();
    let commands = language.commands().join("\n  ");
    print(&format!(
        "wrote {}:\n{paths}\nIt needs {}. Next:\n\n  cd {}\n  {commands}\n",
        directory.display(),
        language.needs,
        directory.display()
    ))
}

/// The guest's name: that of the directory, which must be valid for package managers.
fn name_of(directory: &Path) -> Result<String, ArgsError> {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let legal = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if legal {
        return Ok(name);
    }
    let reason = "expected a name of lower-case letters, digits, `-` and `_` that begins with a letter";
    Err(ArgsError::flag("NAME", directory.display(), reason.to_owned()))
}

/// Paths and contents.
fn files(language: &Language, name: &str) -> Vec<(&'static str, String)> {
    let written = language.files.iter().map(|(path, content)| (*path, content.replace(EXAMPLE, name)));
    let ignored = "guest.wasm\nnode_modules/\ntarget/\nresults.xml\n";
    let others = [
        ("README.md", language.readme(name)),
        (".gitignore", ignored.to_owned()),
        (".github/workflows/guest.yml", language.workflow()),
    ];
    written.chain(others).collect()
}

/// Writes the files to a directory that is empty or doesn't exist yet.
fn make(directory: &Path, files: &[(&'static str, String)]) -> Result<(), Failure> {
    if let Ok(mut entries) = fs::read_dir(directory)
        && entries.next().is_some()
    {
        let reason = "the directory isn't empty; choose another name".to_owned();
        return Err(ArgsError::flag("NAME", directory.display(), reason).into());
    }
    for (path, content) in files {
        let file = directory.join(path);
        let written =
            file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, content));
        let written =
            written.and_then(|()| if *path == "build.sh" { make_executable(&file) } else { Ok(()) });
        written
            .map_err(|error| Failure::Other(format!("cannot write {}: {}", file.display(), plain(&error))))?;
    }
    Ok(())
}

#[cfg(unix)]
fn make_executable(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let mut permissions = fs::metadata(file)?.permissions();
    permissions.set_mode(permissions.mode() | 0o111);
    fs::set_permissions(file, permissions)
}

#[cfg(not(unix))]
fn make_executable(_: &Path) -> io::Result<()> {
    Ok(())
}
