//! The messages of a client as views into the input buffer, checked to the last byte.
//!
//! The messages that pipelines consist of are decoded here and not by pgwire: without copying and without allocating. A body
//! that is too short, too long or has an impossible count is [`DecodeError::Malformed`], which ends the connection; text that
//! is not UTF-8 is 22021, which does not.
//!
//! Source: PostgreSQL 15 documentation, section 55.7 "Message Formats".

use crate::error::{SqlError, SqlState};
use crate::session::formats::{FormatCodes, invalid_text};
use crate::wire::framer::Frame;

/// A message of the client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Frontend<'a> {
    /// Query: a simple query string.
    Query(&'a str),
    /// Parse.
    Parse(Parse<'a>),
    /// Bind.
    Bind(Bind<'a>),
    /// Describe.
    Describe(Target<'a>),
    /// Execute.
    Execute(Execute<'a>),
    /// Close.
    Close(Target<'a>),
    /// Sync.
    Sync,
    /// Flush.
    Flush,
    /// CopyData.
    CopyData(&'a [u8]),
    /// CopyDone.
    CopyDone,
    /// CopyFail with the client's reason.
    CopyFail(&'a str),
    /// FunctionCall, which is not supported.
    FunctionCall,
    /// An answer to an authentication request.
    Password(&'a [u8]),
    /// Terminate.
    Terminate,
}

/// A Parse message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a str,
    /// The query string.
    pub query: &'a str,
    /// Types of parameters, 0 for undecided.
    pub types: TypeOids<'a>,
}

/// A Bind message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bind<'a> {
    /// The portal's name; empty for the unnamed one.
    pub portal: &'a str,
    /// The statement's name; empty for the unnamed one.
    pub statement: &'a str,
    /// Format codes of the parameters: none (all text), one for all, or one each.
    pub param_formats: FormatCodes<'a>,
    /// Values of the parameters.
    pub params: Params<'a>,
    /// Format codes of the result columns, in the same way.
    pub result_formats: FormatCodes<'a>,
}

/// An Execute message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Execute<'a> {
    /// The portal.
    pub portal: &'a str,
    /// The most rows to return; 0 or less for all.
    pub rows_max: i32,
}

/// What Describe and Close are about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a str),
    /// A portal.
    Portal(&'a str),
}

/// Object identifiers of parameter types, as the message holds them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TypeOids<'a>(&'a [u8]);

impl<'a> TypeOids<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The object identifiers.
    pub fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.0.as_chunks::<4>().0.iter().map(|bytes| u32::from_be_bytes(*bytes))
    }
}

/// The parameter values of a Bind; lengths have been checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Params<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The values; `None` for NULL.
    #[inline]
    pub fn iter(self) -> ParamValues<'a> {
        ParamValues { left: self.count, rest: self.bytes }
    }
}

/// Goes over the values of a Bind.
#[derive(Clone, Debug)]
pub struct ParamValues<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for ParamValues<'a> {
    type Item = Option<&'a [u8]>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut rest = Cursor(self.rest);
        let value = rest.param().expect("the message was checked when it was decoded");
        self.rest = rest.0;
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ParamValues<'_> {}

/// Why a message cannot be used.
#[derive(Clone, Debug, PartialEq)]
pub enum DecodeError {
    /// The body is not what its type demands: 08P01, and the connection ends.
    Malformed(&'static str),
    /// Text that is not UTF-8 (22021): the statement fails, the connection goes on.
    Encoding(SqlError),
}

impl From<DecodeError> for SqlError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Malformed(message) => SqlError::new(SqlState::PROTOCOL_VIOLATION, message),
            DecodeError::Encoding(error) => error,
        }
    }
}

type Decoded<T> = Result<T, DecodeError>;

const TOO_SHORT: DecodeError = DecodeError::Malformed("insufficient data left in message");
const UNTERMINATED: DecodeError = DecodeError::Malformed("invalid string in message");
const TOO_LONG: DecodeError = DecodeError::Malformed("invalid message format");

/// Decodes a frame. The type byte is one that the framer lets through.
#[inline]
pub fn decode(frame: Frame<'_>) -> Decoded<Frontend<'_>> {
    let mut body = Cursor(frame.body);
    let message = match frame.tag {
        b'B' => Frontend::Bind(bind(&mut body)?),
        b'E' => Frontend::Execute(Execute { portal: body.text()?, rows_max: body.int4()? }),
        b'D' => Frontend::Describe(target(&mut body)?),
        b'S' => Frontend::Sync,
        b'Q' => Frontend::Query(body.text()?),
        b'P' => Frontend::Parse(parse(&mut body)?),
        b'C' => Frontend::Close(target(&mut body)?),
        b'H' => Frontend::Flush,
        b'd' => Frontend::CopyData(body.rest()),
        b'c' => Frontend::CopyDone,
        b'f' => Frontend::CopyFail(body.text()?),
        b'p' => Frontend::Password(body.rest()),
        b'X' => Frontend::Terminate,
        b'F' => {
            body.rest();
            Frontend::FunctionCall
        }
        _ => return Err(DecodeError::Malformed("invalid frontend message type")),
    };
    if body.0.is_empty() { Ok(message) } else { Err(TOO_LONG) }
}

fn parse<'a>(body: &mut Cursor<'a>) -> Decoded<Parse<'a>> {
    // Both strings are found before either is judged, so that bad text cannot hide a bad message.
    let (name, query) = (body.string()?, body.string()?);
    let types = TypeOids(body.array(4)?);
    Ok(Parse { name: utf8(name)?, query: utf8(query)?, types })
}

#[inline]
fn bind<'a>(body: &mut Cursor<'a>) -> Decoded<Bind<'a>> {
    let (portal, statement) = (body.string()?, body.string()?);
    let param_formats = FormatCodes::new(body.array(2)?);
    let params = params(body)?;
    let result_formats = FormatCodes::new(body.array(2)?);
    if param_formats.len() > 1 && param_formats.len() != params.len() {
        return Err(DecodeError::Malformed("bind message has a wrong number of parameter formats"));
    }
    Ok(Bind { portal: utf8(portal)?, statement: utf8(statement)?, param_formats, params, result_formats })
}

#[inline]
fn params<'a>(body: &mut Cursor<'a>) -> Decoded<Params<'a>> {
    let count = usize::from(body.int2()?);
    let start = body.0;
    for _ in 0..count {
        body.param()?;
    }
    Ok(Params { count, bytes: &start[..start.len() - body.0.len()] })
}

fn target<'a>(body: &mut Cursor<'a>) -> Decoded<Target<'a>> {
    let kind = body.byte()?;
    let name = body.string()?;
    match kind {
        b'S' => Ok(Target::Statement(utf8(name)?)),
        b'P' => Ok(Target::Portal(utf8(name)?)),
        _ => Err(DecodeError::Malformed("invalid message subtype")),
    }
}

/// Text sent by a client, or 22021 naming the bytes at fault as PostgreSQL does.
#[inline]
pub fn client_text(bytes: &[u8]) -> Result<&str, SqlError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => Err(invalid_text(&bytes[error.valid_up_to()..])),
    }
}

#[inline]
fn utf8(bytes: &[u8]) -> Decoded<&str> {
    client_text(bytes).map_err(DecodeError::Encoding)
}

/// What is left of a body.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    #[inline]
    fn take(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Decoded<u8> {
        Ok(self.take(1)?[0])
    }

    #[inline]
    fn int2(&mut self) -> Decoded<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    #[inline]
    fn int4(&mut self) -> Decoded<i32> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    #[inline]
    fn string(&mut self) -> Decoded<&'a [u8]> {
        // Names are mostly empty or a few bytes long: not worth a vectorised search.
        let end = match self.0.iter().take(16).position(|byte| *byte == 0) {
            Some(end) => end,
            None => memchr::memchr(0, self.0).ok_or(UNTERMINATED)?,
        };
        let text = &self.0[..end];
        self.0 = &self.0[end + 1..];
        Ok(text)
    }

    fn text(&mut self) -> Decoded<&'a str> {
        let text = self.string()?;
        // A message that is too long is refused before its text is judged.
        utf8(text)
    }

    #[inline]
    fn array(&mut self, width: usize) -> Decoded<&'a [u8]> {
        let count = usize::from(self.int2()?);
        self.take(count * width)
    }

    #[inline]
    fn param(&mut self) -> Decoded<Option<&'a [u8]>> {
        match self.int4()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).map_err(|_negative| TOO_SHORT)?;
                self.take(length).map(Some)
            }
        }
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(tag: u8, body: &[u8]) -> Decoded<Frontend<'_>> {
        decode(Frame { tag, body })
    }

    #[test]
    fn hot_messages_are_views() {
        let body = b"\0s1\0\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\0\x01\0\x01";
        let Ok(Frontend::Bind(bind)) = check(b'B', body) else { panic!("a Bind") };
        assert_eq!((bind.portal, bind.statement), ("", "s1"));
        assert_eq!(bind.param_formats.iter().collect::<Vec<_>>(), [1]);
        assert_eq!(bind.params.iter().collect::<Vec<_>>(), [Some(&b"\0\0\0\x07"[..]), None]);
        assert_eq!(bind.result_formats.iter().collect::<Vec<_>>(), [1]);
        let Ok(Frontend::Parse(parse)) = check(b'P', b"s1\0select $1\0\0\x01\0\0\0\x17") else { panic!("a Parse") };
        assert_eq!((parse.name, parse.query), ("s1", "select $1"));
        assert_eq!(parse.types.iter().collect::<Vec<_>>(), [23]);
        assert_eq!(check(b'E', b"\0\0\0\0\x05"), Ok(Frontend::Execute(Execute { portal: "", rows_max: 5 })));
        assert_eq!(check(b'D', b"Pp\0"), Ok(Frontend::Describe(Target::Portal("p"))));
        assert_eq!(check(b'C', b"Ss\0"), Ok(Frontend::Close(Target::Statement("s"))));
        assert_eq!(check(b'Q', b"select 1\0"), Ok(Frontend::Query("select 1")));
        assert_eq!(check(b'd', b"1\t2\n"), Ok(Frontend::CopyData(b"1\t2\n")));
    }

    #[test]
    fn malformed_bodies_are_refused() {
        let cases: &[(u8, &[u8])] = &[
            (b'Q', b""),
            (b'Q', b"select 1"),
            (b'Q', b"select 1\0x"),
            (b'S', b"x"),
            (b'H', b"x"),
            (b'X', b"\0"),
            (b'c', b"x"),
            (b'f', b"reason"),
            (b'E', b"\0\0\0\x05"),
            (b'E', b"p\0\0\0\0\x05\0"),
            (b'D', b""),
            (b'D', b"X\0"),
            (b'D', b"Sname"),
            (b'C', b"P"),
            (b'P', b"s\0select 1"),
            (b'P', b"s\0select 1\0\0"),
            (b'P', b"s\0select 1\0\0\x02\0\0\0\x17"),
            (b'P', b"s\0select 1\0\xff\xff"),
            (b'B', b"\0\0\0\0\0\0"),
            (b'B', b"\0\0\0\0\0\x01\0\0\0\x09ab\0\0"),
            (b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
            (b'B', b"\0\0\0\x02\0\0\0\0\0\x01\xff\xff\xff\xff\0\0"),
            (b'B', b"\0\0\0\0\0\0\0\x01\0"),
            (b'B', b"\0\0\0\0\0\0\0\0\0"),
            (b'B', b"\0\0\0\0\xff\xff\0\0"),
        ];
        for (tag, body) in cases {
            let found = check(*tag, body);
            assert!(matches!(found, Err(DecodeError::Malformed(_))), "{} {body:?}: {found:?}", *tag as char);
        }
    }

    #[test]
    fn bad_text_is_named_as_postgres_names_it() {
        for (bytes, shown) in [
            (&b"a\xff\0"[..], "0xff"),
            (b"\xc3\x28\0", "0xc3 0x28"),
            (b"\xe2\x82\0", "0xe2 0x82"),
            (b"\xed\xa0\x80\0", "0xed 0xa0 0x80"),
        ] {
            let Err(DecodeError::Encoding(error)) = check(b'Q', bytes) else { panic!("{bytes:?} is not text") };
            assert_eq!(error.code(), SqlState::CHARACTER_NOT_IN_REPERTOIRE);
            assert_eq!(error.message(), format!("invalid byte sequence for encoding \"UTF8\": {shown}"));
        }
    }

    proptest! {
        /// No body can do more than fail.
        #[test]
        fn any_body_is_survived(tag in any::<u8>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Frontend::Bind(bind)) = check(tag, &body) {
                prop_assert_eq!(bind.params.iter().count(), bind.params.len());
            }
        }
    }
}
