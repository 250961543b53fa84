//! Cuts a text into words, numbers, strings and marks, and names the place of a mistake.

use crate::{Error, Result, ir::Type};
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Word(&'a str),
    Number(u64),
    Text(String),
    Mark(char),
    End,
}

pub(super) struct Parser<'a> {
    text: &'a str,
    /// Just behind the current token.
    at: usize,
    pub token: Token<'a>,
    /// Where the current token starts.
    pub start: usize,
    /// Where the token before it ended.
    pub end: usize,
    pub depth: usize,
    /// Types by value.
    pub types: BTreeMap<u32, Type>,
}

impl<'a> Parser<'a> {
    /// At the first token of a text.
    pub fn new(text: &'a str) -> Result<Parser<'a>> {
        let mut p = Parser { text, at: 0, token: Token::End, start: 0, end: 0, depth: 0, types: BTreeMap::new() };
        p.advance()?;
        Ok(p)
    }

    pub fn error<T>(&self, at: usize, why: &str) -> Result<T> {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let first = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
        // Columns count characters: bytes that do not continue one.
        let column = 1 + before[first..].iter().filter(|b| **b & 0xc0 != 0x80).count();
        Err(Error::invalid(format!("kernel text: line {line}, column {column}: {why}")))
    }

    pub fn expected<T>(&self, what: &str) -> Result<T> {
        let found = match &self.token {
            Token::Word(w) => format!("{:?}", short(w)),
            Token::Number(n) => format!("the number {n}"),
            Token::Text(t) => format!("the string {:?}", short(t)),
            Token::Mark(c) => format!("{c:?}"),
            Token::End => "the end of the text".to_string(),
        };
        self.error(self.start, &format!("expected {what}, found {found}"))
    }

    pub fn advance(&mut self) -> Result<()> {
        self.end = self.at;
        let bytes = self.text.as_bytes();
        loop {
            while bytes.get(self.at).is_some_and(|b| b.is_ascii_whitespace()) {
                self.at += 1;
            }
            if !self.text[self.at..].starts_with("//") {
                break;
            }
            self.at = self.text[self.at..].find('\n').map_or(bytes.len(), |n| self.at + n);
        }
        self.start = self.at;
        let rest = &self.text[self.at..];
        let Some(c) = rest.chars().next() else {
            self.token = Token::End;
            return Ok(());
        };
        let run = |ok: fn(u8) -> bool| rest.bytes().position(|b| !ok(b)).unwrap_or(rest.len());
        self.token = if c == '_' || c.is_ascii_alphabetic() {
            let n = run(|b| b == b'_' || b.is_ascii_alphanumeric());
            self.at += n;
            Token::Word(&rest[..n])
        } else if c.is_ascii_digit() {
            let n = run(|b| b.is_ascii_alphanumeric());
            self.at += n;
            let digits = &rest[..n];
            let number = match digits.strip_prefix("0x") {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            match number {
                Ok(n) => Token::Number(n),
                Err(_) => return self.error(self.start, &format!("{:?} is no number of 64 bits", short(digits))),
            }
        } else if c == '"' {
            self.string()?
        } else {
            self.at += c.len_utf8();
            Token::Mark(c)
        };
        Ok(())
    }

    fn string(&mut self) -> Result<Token<'a>> {
        let mut out = String::new();
        let mut at = self.at + 1;
        while let Some(c) = self.text[at..].chars().next() {
            let here = at;
            at += c.len_utf8();
            match c {
                '"' => {
                    self.at = at;
                    return Ok(Token::Text(out));
                }
                '\\' => {
                    let rest = &self.text[at..];
                    let (c, bytes) = match rest.bytes().next() {
                        Some(b'"') => ('"', 1),
                        Some(b'\\') => ('\\', 1),
                        Some(b'n') => ('\n', 1),
                        Some(b'u') => match code(&rest[1..]) {
                            Some((c, n)) => (c, n + 1),
                            None => return self.error(here, "expected a character's number, as in \\u{1b}"),
                        },
                        _ => return self.error(here, "expected one of \\\" \\\\ \\n \\u{…} in a string"),
                    };
                    out.push(c);
                    at += bytes;
                }
                c => out.push(c),
            }
        }
        self.error(self.start, "expected a closing quotation mark for this string")
    }
}

/// `{hex}`: the character and the bytes read.
fn code(s: &str) -> Option<(char, usize)> {
    let hex = s.strip_prefix('{')?;
    let n = hex.find('}').filter(|n| *n <= 6)?;
    Some((char::from_u32(u32::from_str_radix(&hex[..n], 16).ok()?)?, n + 2))
}

pub(super) fn short(s: &str) -> &str {
    match s.char_indices().nth(40) {
        Some((n, _)) => &s[..n],
        None => s,
    }
}
