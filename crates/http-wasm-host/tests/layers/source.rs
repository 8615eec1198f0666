//! Extracts from Rust source the modules that it declares, its imports, and the paths that it names.

use std::iter::Peekable;
use std::str::Chars;

/// A token that can be part of a path. Comments, literals and lifetimes can't.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Sep,
    Mark(char),
}

/// One leaf of a `use` tree with its path, or a path in code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// The inline modules around it, outermost first.
    pub(crate) within: Vec<String>,
    pub(crate) path: Vec<String>,
    /// The name that it is imported as; `None` for `_`, globs, and paths in code.
    pub(crate) name: Option<String>,
    /// Whether it is a `pub use`, whose name may or may not be used here.
    pub(crate) is_reexport: bool,
}

/// What a file declares and uses.
#[derive(Debug, Default)]
pub(crate) struct Source {
    /// Modules in separate files.
    pub(crate) modules: Vec<String>,
    pub(crate) uses: Vec<Import>,
    /// All paths of more than one segment outside `use`.
    pub(crate) paths: Vec<Import>,
    /// Names of items.
    items: Vec<String>,
    /// All words outside `use`.
    words: Vec<String>,
}

impl Source {
    /// Reads `text`, leaving out what only tests compile.
    pub(crate) fn parse(text: &str) -> Self {
        let mut source = Self::default();
        let tokens = without_tests(&tokens(text));
        Parser { tokens: &tokens, at: 0, within: Vec::new(), depth: 0 }.run(&mut source);
        source
    }

    /// Whether the file defines an item of that name.
    pub(crate) fn defines(&self, name: &str) -> bool {
        self.items.iter().any(|known| known == name)
    }

    /// Whether code of the file, outside `use`, has the word in it.
    pub(crate) fn mentions(&self, word: &str) -> bool {
        self.words.iter().any(|known| known == word)
    }
}

/// Keywords before the name of an item.
const DEFINING: &[&str] = &["fn", "struct", "enum", "trait", "type", "const", "static", "union"];

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    /// Inline modules, each with the depth of its braces.
    within: Vec<(String, usize)>,
    depth: usize,
}

impl Parser<'_> {
    fn run(&mut self, source: &mut Source) {
        while let Some(token) = self.next() {
            match token {
                Token::Mark('{') => self.depth += 1,
                Token::Mark('}') => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.within.last().is_some_and(|(_, depth)| *depth == self.depth) {
                        self.within.pop();
                    }
                }
                // A path in a visibility isn't an import.
                Token::Word(word) if word == "pub" && self.peek() == Some(&Token::Mark('(')) => {
                    while self.next().is_some_and(|token| token != Token::Mark(')')) {}
                    if self.peek() == Some(&Token::Word("use".into())) {
                        self.at += 1;
                        self.use_tree(Vec::new(), true, source);
                    }
                }
                Token::Word(word) if word == "pub" && self.peek() == Some(&Token::Word("use".into())) => {
                    self.at += 1;
                    self.use_tree(Vec::new(), true, source);
                }
                Token::Word(word) if word == "use" => self.use_tree(Vec::new(), false, source),
                Token::Word(word) if word == "mod" => {
                    let Some(Token::Word(name)) = self.next() else { continue };
                    match self.next() {
                        Some(Token::Mark('{')) => {
                            self.within.push((name, self.depth));
                            self.depth += 1;
                        }
                        _ => source.modules.push(name),
                    }
                }
                Token::Word(word) => {
                    if let (true, Some(Token::Word(name))) = (DEFINING.contains(&&*word), self.peek()) {
                        source.items.push(name.clone());
                    }
                    self.path(word, source);
                }
                Token::Sep | Token::Mark(_) => {}
            }
        }
    }

    /// A path in code that begins with `first`.
    fn path(&mut self, first: String, source: &mut Source) {
        // A name after `::`, as in `<T>::f`, doesn't start a path.
        let goes_on = self.at >= 2 && self.tokens[self.at - 2] == Token::Sep;
        let mut path = vec![first];
        while self.peek() == Some(&Token::Sep) {
            let Some(Token::Word(word)) = self.tokens.get(self.at + 1) else { break };
            path.push(word.clone());
            self.at += 2;
        }
        source.words.extend(path.iter().cloned());
        if path.len() > 1 && !goes_on {
            let within = self.within();
            source.paths.push(Import { within, path, name: None, is_reexport: false });
        }
    }

    /// The rest of a `use` tree under `prefix`.
    fn use_tree(&mut self, mut prefix: Vec<String>, is_reexport: bool, source: &mut Source) {
        loop {
            match self.next() {
                Some(Token::Word(word)) => prefix.push(word),
                Some(Token::Mark('{')) => {
                    while self.peek().is_some_and(|token| *token != Token::Mark('}')) {
                        self.use_tree(prefix.clone(), is_reexport, source);
                        if self.peek() == Some(&Token::Mark(',')) {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                Some(Token::Mark('*')) => return self.leaf(prefix, None, is_reexport, source),
                // A leading `::`.
                Some(Token::Sep) => continue,
                _ => return,
            }
            match self.peek() {
                Some(Token::Sep) => self.at += 1,
                Some(Token::Word(word)) if word == "as" => {
                    self.at += 1;
                    let Some(Token::Word(name)) = self.next() else { return };
                    return self.leaf(prefix, Some(name), is_reexport, source);
                }
                _ => {
                    let name = prefix.iter().rev().find(|word| *word != "self").cloned();
                    return self.leaf(prefix, name, is_reexport, source);
                }
            }
        }
    }

    fn leaf(&self, mut path: Vec<String>, name: Option<String>, is_reexport: bool, source: &mut Source) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let name = name.filter(|name| name != "_");
        source.uses.push(Import { within: self.within(), path, name, is_reexport });
    }

    fn within(&self) -> Vec<String> {
        self.within.iter().map(|(name, _)| name.clone()).collect()
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }
}

/// The tokens without items under `#[cfg(test)]`.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let word = |word: &str| Token::Word(word.into());
    let [open, close] = ['(', ')'].map(Token::Mark);
    let test = [Token::Mark('#'), Token::Mark('['), word("cfg"), open, word("test"), close, Token::Mark(']')];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].starts_with(&test) {
            at = end_of_item(tokens, at + test.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The end of the item that begins at `at`: after its `;` or its block.
fn end_of_item(tokens: &[Token], mut at: usize) -> usize {
    let is_use = tokens[at..].iter().take(2).any(|token| *token == Token::Word("use".into()));
    let mut depth = 0usize;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(close @ (')' | ']' | '}')) => {
                depth = depth.saturating_sub(1);
                if depth == 0 && *close == '}' && !is_use {
                    return at;
                }
            }
            Token::Mark(';') if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

fn tokens(text: &str) -> Vec<Token> {
    let mut chars = text.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            '/' if chars.peek() == Some(&'/') => while chars.next_if(|c| *c != '\n').is_some() {},
            '/' if chars.peek() == Some(&'*') => skip_block_comment(&mut chars),
            '"' => skip_string(&mut chars),
            '\'' => skip_quote(&mut chars),
            c if c.is_alphanumeric() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                match (&*word, chars.peek()) {
                    ("r" | "br" | "cr", Some('"' | '#')) => skip_raw(&mut chars, &mut tokens),
                    // The quote follows.
                    ("b" | "c", Some('"' | '\'')) => {}
                    _ => tokens.push(Token::Word(word)),
                }
            }
            ':' if chars.next_if_eq(&':').is_some() => tokens.push(Token::Sep),
            c if c.is_whitespace() => {}
            c => tokens.push(Token::Mark(c)),
        }
    }
    tokens
}

fn skip_block_comment(chars: &mut Peekable<Chars<'_>>) {
    let mut depth = 0;
    let mut last = '/';
    for c in chars.by_ref() {
        match (last, c) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                last = c;
                continue;
            }
        }
        if depth == 0 {
            return;
        }
        // A character can't be part of two delimiters.
        last = ' ';
    }
}

fn skip_string(chars: &mut Peekable<Chars<'_>>) {
    while let Some(c) = chars.next() {
        match c {
            '\\' => _ = chars.next(),
            '"' => return,
            _ => {}
        }
    }
}

/// A character or a lifetime.
fn skip_quote(chars: &mut Peekable<Chars<'_>>) {
    match chars.next() {
        Some('\\') => {
            chars.next();
            while chars.next().is_some_and(|c| c != '\'') {}
        }
        Some(_) if chars.peek() == Some(&'\'') => _ = chars.next(),
        // A lifetime's name isn't part of a path.
        _ => while chars.next_if(|c| c.is_alphanumeric() || *c == '_').is_some() {},
    }
}

/// A raw string, or a raw word.
fn skip_raw(chars: &mut Peekable<Chars<'_>>, tokens: &mut Vec<Token>) {
    let mut hashes = 0;
    while chars.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    if chars.next_if_eq(&'"').is_none() {
        let mut word = String::new();
        while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
            word.push(c);
        }
        return tokens.push(Token::Word(word));
    }
    while let Some(c) = chars.next() {
        if c == '"' && (0..hashes).all(|_| chars.next_if_eq(&'#').is_some()) {
            return;
        }
    }
}
