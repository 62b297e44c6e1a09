//! What clients send, encoded. Tests of the crate and of the assembled server share it.

/// A typed message.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out
}

/// A packet of the startup phase.
pub fn packet(code: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32 + 8).to_be_bytes().to_vec();
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Query.
pub fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

/// Parse without types.
pub fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

/// Bind with text parameters and text results; `None` is NULL.
pub fn bind(portal: &str, statement: &str, params: &[Option<&str>]) -> Vec<u8> {
    bind_formats(portal, statement, params, &[])
}

/// Bind with text parameters and results in these formats.
pub fn bind_formats(portal: &str, statement: &str, params: &[Option<&str>], results: &[u16]) -> Vec<u8> {
    let mut body = format!("{portal}\0{statement}\0\0\0").into_bytes();
    body.extend_from_slice(&(params.len() as u16).to_be_bytes());
    for param in params {
        match param {
            None => body.extend_from_slice(&[0xFF; 4]),
            Some(text) => {
                body.extend_from_slice(&(text.len() as u32).to_be_bytes());
                body.extend_from_slice(text.as_bytes());
            }
        }
    }
    body.extend_from_slice(&(results.len() as u16).to_be_bytes());
    results.iter().for_each(|code| body.extend_from_slice(&code.to_be_bytes()));
    message(b'B', &body)
}

/// Describe of a statement (`S`) or portal (`P`).
pub fn describe(kind: char, name: &str) -> Vec<u8> {
    message(b'D', format!("{kind}{name}\0").as_bytes())
}

/// Close of a statement (`S`) or portal (`P`).
pub fn close(kind: char, name: &str) -> Vec<u8> {
    message(b'C', format!("{kind}{name}\0").as_bytes())
}

/// Execute; 0 rows for all.
pub fn execute(portal: &str, rows_max: i32) -> Vec<u8> {
    let mut body = format!("{portal}\0").into_bytes();
    body.extend_from_slice(&rows_max.to_be_bytes());
    message(b'E', &body)
}

/// Sync.
pub fn sync() -> Vec<u8> {
    message(b'S', b"")
}
