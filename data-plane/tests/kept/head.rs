//! The head of a request, its lines as they were on the wire.

/// Request line and headers, without line ends. A character is a byte (Latin-1), so that any byte can be kept.
#[derive(Clone)]
pub struct Head(Vec<String>);

impl Head {
    /// A head of these lines.
    pub fn new(lines: Vec<String>) -> Head {
        Head(lines)
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.0[0].split(' ').next().unwrap()
    }

    /// Path and query as sent.
    pub fn target(&self) -> &str {
        self.0[0].split(' ').nth(1).unwrap()
    }

    /// Another target.
    pub fn set_target(&mut self, target: &str) {
        self.0[0] = self.0[0].replace(&format!(" {} ", self.target()), &format!(" {target} "));
    }

    /// A parameter of the query, as sent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target().split_once('?')?;
        query
            .split('&')
            .find_map(|pair| pair.split_once('=').filter(|(found, _)| *found == name))
            .map(|(_, value)| value)
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.values(name).next()
    }

    /// All values of a header as a signature covers them.
    pub fn joined(&self, name: &str) -> String {
        let trimmed = |value: &str| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        self.values(name).map(trimmed).collect::<Vec<_>>().join(",")
    }

    /// Another value for a header that is there.
    pub fn set(&mut self, name: &str, value: &str) {
        for line in &mut self.0[1..] {
            if let Some((found, _)) =
                line.split_once(':').filter(|(found, _)| found.eq_ignore_ascii_case(name))
            {
                *line = format!("{found}: {value}");
            }
        }
    }

    /// Every occurrence of a text made another one.
    pub fn replace(&mut self, old: &str, new: &str) {
        for line in &mut self.0 {
            *line = line.replace(old, new);
        }
    }

    /// Whether a text occurs.
    pub fn mentions(&self, text: &str) -> bool {
        self.0.iter().any(|line| line.contains(text))
    }

    /// The bytes, with the empty line.
    pub fn bytes(&self) -> Vec<u8> {
        let text = format!("{}\r\n\r\n", self.0.join("\r\n"));
        text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
    }

    /// The names of the headers, in small letters.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.0[1..].iter().filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()))
    }

    fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let name = name.to_owned();
        let pairs = self.0[1..].iter().filter_map(|line| line.split_once(':'));
        pairs.filter(move |(found, _)| found.eq_ignore_ascii_case(&name)).map(|(_, value)| value.trim())
    }
}
