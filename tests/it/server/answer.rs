//! The server's messages, taken apart to the last byte: whatever does not fit is a fault of the server.
//!
//! Source: PostgreSQL 15 documentation, sections 55.7 "Message Formats" and 55.8 "Error and Notice Message Fields".

/// The longest message that any test expects.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// Messages without a body.
const EMPTY: &[u8] = b"123nsIc";

/// The type of the message at the beginning of a buffer and its length with everything; `None` if it is not complete yet.
pub fn frame(buffer: &[u8]) -> Option<(u8, usize)> {
    let (head, _) = buffer.split_first_chunk::<5>()?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    assert!((4..=MESSAGE_BYTES_MAX).contains(&length), "no message of type {:?} has a length of {length}", char::from(head[0]));
    (buffer.len() > length).then_some((head[0], length + 1))
}

/// A message as a line: `T a:23 b:25`, `D 1|x|~`, `C SELECT 1`, `E 42601 message`, `E FATAL 08P01 message`, `Z I`; or what is
/// wrong with it.
pub fn line(tag: u8, body: &[u8]) -> Result<String, String> {
    let mut rest = Rest(body);
    let line = match tag {
        b'T' => {
            let columns: Result<Vec<String>, String> = (0..rest.int2()?).map(|_| column(&mut rest)).collect();
            format!("T {}", columns?.join(" "))
        }
        b'D' => {
            let values: Result<Vec<String>, String> = (0..rest.int2()?).map(|_| value(&mut rest)).collect();
            format!("D {}", values?.join("|"))
        }
        b'E' | b'N' => error_or_notice(tag, &mut rest)?,
        b'S' => format!("S {}={}", rest.string()?, rest.string()?),
        b't' => {
            let types: Result<Vec<String>, String> = (0..rest.int2()?).map(|_| Ok(rest.int4()?.to_string())).collect();
            format!("t {}", types?.join(" "))
        }
        b'C' => format!("C {}", rest.string()?),
        b'd' => format!("d {}", text(rest.take(body.len())?)?.trim_end_matches('\n')),
        b'Z' => match rest.take(1)? {
            b"I" => "Z I".to_owned(),
            b"T" => "Z T".to_owned(),
            b"E" => "Z E".to_owned(),
            other => return Err(format!("no transaction status {other:?}")),
        },
        b'R' => match rest.int4()? {
            // The data of a SASL exchange, and the names of its mechanisms.
            code @ 10..=12 => format!("R {code} {}", text(rest.take(rest.0.len())?)?.replace('\0', " ").trim_end()),
            code => format!("R {code}"),
        },
        b'K' => {
            rest.take(body.len())?;
            format!("K {}", body.len())
        }
        b'v' => {
            let newest = rest.int4()?;
            let options: Result<Vec<String>, String> = (0..rest.int4()?).map(|_| rest.string()).collect();
            format!("v {newest} {}", options?.join(" ")).trim_end().to_owned()
        }
        b'G' | b'H' => {
            let format = rest.take(1)?[0];
            let columns: Result<Vec<u16>, String> = (0..rest.int2()?).map(|_| rest.int2()).collect();
            format!("{} {format} {:?}", char::from(tag), columns?)
        }
        tag if EMPTY.contains(&tag) => char::from(tag).to_string(),
        tag => return Err(format!("no message has the type {tag}")),
    };
    if rest.0.is_empty() { Ok(line) } else { Err(format!("{} bytes too many", rest.0.len())) }
}

fn column(rest: &mut Rest<'_>) -> Result<String, String> {
    let name = rest.string()?;
    rest.take(6)?;
    let oid = rest.int4()?;
    rest.take(6)?;
    match rest.int2()? {
        0 => Ok(format!("{name}:{oid}")),
        1 => Ok(format!("{name}:{oid}b")),
        other => Err(format!("no format code {other}")),
    }
}

fn value(rest: &mut Rest<'_>) -> Result<String, String> {
    let length = rest.int4()?.cast_signed();
    if length == -1 {
        return Ok("~".to_owned());
    }
    let bytes = rest.take(usize::try_from(length).map_err(|_| format!("no value has a length of {length}"))?)?;
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(char::is_control) => Ok(text.to_owned()),
        _ => Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
    }
}

fn error_or_notice(tag: u8, rest: &mut Rest<'_>) -> Result<String, String> {
    let mut fields = Vec::new();
    loop {
        match rest.take(1)?[0] {
            0 => break,
            code => fields.push((code, rest.string()?)),
        }
    }
    let field = |code: u8| fields.iter().find(|(found, _)| *found == code).map(|(_, text)| text.as_str());
    let must = |code: u8| field(code).ok_or_else(|| format!("no field {:?} in {fields:?}", char::from(code)));
    must(b'S')?;
    let severity = match must(b'V')? {
        "ERROR" => "",
        other => &format!("{other} "),
    };
    if must(b'C')?.len() != 5 {
        return Err(format!("no SQLSTATE in {fields:?}"));
    }
    let mut line = format!("{} {severity}{} {}", char::from(tag), must(b'C')?, must(b'M')?);
    if let Some(context) = field(b'W') {
        line.push_str(&format!(" [{context}]"));
    }
    Ok(line)
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| format!("text that is not UTF-8: {error}"))
}

/// What is left of a body.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(count).ok_or_else(|| format!("{count} bytes are wanted of {:?}", self.0))?;
        self.0 = rest;
        Ok(head)
    }

    fn int2(&mut self) -> Result<u16, String> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn int4(&mut self) -> Result<u32, String> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn string(&mut self) -> Result<String, String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or("a string without its end")?;
        let found = text(self.take(end)?)?.to_owned();
        self.take(1)?;
        Ok(found)
    }
}
