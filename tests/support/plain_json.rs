//! A second JSON reader, made from the grammar only (RFC 8259): tests check the product's reading against it.
//!
//! Names keep their order and may repeat; numbers keep their digits.

/// A document or a part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Deeper documents are not read; no real one is nearly so deep.
const DEEPEST: usize = 100;

/// The whole document, or `None` if it is not JSON. A byte order mark before it is allowed (§8.1).
pub(crate) fn read(bytes: &[u8]) -> Option<Json> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader { rest: std::str::from_utf8(bytes).ok()?.chars().peekable() };
    let document = reader.value(DEEPEST)?;
    reader.blanks();
    reader.rest.next().is_none().then_some(document)
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t' | '\r' | '\n')).is_some() {}
    }

    /// Takes the next character if it is this one, after any blanks; returns whether it did.
    fn takes(&mut self, sign: char) -> bool {
        self.blanks();
        self.rest.next_if_eq(&sign).is_some()
    }

    fn word(&mut self, word: &str, meaning: Json) -> Option<Json> {
        word.chars().all(|c| self.rest.next_if_eq(&c).is_some()).then_some(meaning)
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        self.blanks();
        match self.rest.peek()? {
            'n' => self.word("null", Json::Null),
            't' => self.word("true", Json::Bool(true)),
            'f' => self.word("false", Json::Bool(false)),
            '"' => self.text().map(Json::Text),
            '[' => self.list(depth.checked_sub(1)?),
            '{' => self.object(depth.checked_sub(1)?),
            _ => self.number(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Json> {
        self.rest.next();
        let mut items = Vec::new();
        if self.takes(']') {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            if self.takes(']') {
                return Some(Json::List(items));
            }
            self.takes(',').then_some(())?;
        }
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        self.rest.next();
        let mut members = Vec::new();
        if self.takes('}') {
            return Some(Json::Object(members));
        }
        loop {
            self.blanks();
            self.rest.peek().filter(|c| **c == '"')?;
            let name = self.text()?;
            self.takes(':').then_some(())?;
            members.push((name, self.value(depth)?));
            if self.takes('}') {
                return Some(Json::Object(members));
            }
            self.takes(',').then_some(())?;
        }
    }

    fn text(&mut self) -> Option<String> {
        self.rest.next();
        let mut text = String::new();
        loop {
            match self.rest.next()? {
                '"' => return Some(text),
                '\\' => text.push(match self.rest.next()? {
                    c @ ('"' | '\\' | '/') => c,
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'u' => self.escaped()?,
                    _ => return None,
                }),
                c if c < ' ' => return None,
                c => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let first = self.four_digits()?;
        let code = match first {
            0xd800..=0xdbff => {
                self.word("\\u", Json::Null)?;
                let second = self.four_digits().filter(|second| (0xdc00..=0xdfff).contains(second))?;
                0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            code => code,
        };
        char::from_u32(code)
    }

    fn four_digits(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |code, _| Some(code * 16 + self.rest.next()?.to_digit(16)?))
    }

    fn number(&mut self) -> Option<Json> {
        let mut number = String::new();
        number.extend(self.rest.next_if_eq(&'-'));
        let whole = self.digits()?;
        (whole == "0" || !whole.starts_with('0')).then_some(())?;
        number.push_str(&whole);
        if let Some(point) = self.rest.next_if_eq(&'.') {
            number.push(point);
            number.push_str(&self.digits()?);
        }
        if let Some(e) = self.rest.next_if(|c| matches!(c, 'e' | 'E')) {
            number.push(e);
            number.extend(self.rest.next_if(|c| matches!(c, '+' | '-')));
            number.push_str(&self.digits()?);
        }
        Some(Json::Number(number))
    }

    fn digits(&mut self) -> Option<String> {
        let mut digits = String::new();
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        (!digits.is_empty()).then_some(digits)
    }
}
