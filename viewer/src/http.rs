//! One keep-alive HTTP/1.1 connection that asks a gateway's admin API, with nothing but the standard library.
//!
//! It reads answers with a length, in chunks, or up to the end of the connection (RFC 9112, sections 6 and 7), and
//! limits everything the other side decides.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The longest body that is read: 512 timelines of 100 kB each, and some.
const BODY_MAX: u64 = 64 << 20;
/// The longest line of a head, and the most lines.
const LINE_MAX: u64 = 16 << 10;
const LINES_MAX: usize = 128;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a poll brought nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the address `{0}` has no port; write host:port")]
    Address(String),
    #[error("only plain http:// is spoken; forward the port through SSH for a gateway that is far away")]
    Tls,
    #[error("the gateway answers {status}{}", hint(*.status))]
    Status { status: u16 },
    #[error("the answer is not HTTP/1.1: {0}")]
    Protocol(&'static str),
}

const fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => ": give the admin token (--token)",
        404 => ": is this the admin address?",
        _ => "",
    }
}

/// A connection to one address, opened when first needed and again after a failure.
pub(crate) struct Client {
    authority: String,
    token: Option<String>,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    pub(crate) fn new(authority: &str, token: Option<String>) -> Self {
        // A line break in a header value would let the token write headers of its own.
        let token = token.map(|t| t.chars().filter(|c| !c.is_control()).collect());
        Self { authority: authority.to_owned(), token, stream: None }
    }

    /// Asks for `path` and gives the body of a 200 answer. Blocks for at most a few seconds.
    ///
    /// A kept connection may have been closed meanwhile by the other side; then a new one is tried once.
    pub(crate) fn get(&mut self, path: &str) -> Result<Vec<u8>, HttpError> {
        if let Some(stream) = self.stream.take() {
            match self.exchange(stream, path) {
                Err(HttpError::Io(_)) => {}
                result => return result,
            }
        }
        let stream = self.connect()?;
        self.exchange(stream, path)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>, HttpError> {
        if self.authority == "https:" {
            return Err(HttpError::Tls);
        }
        if !self.authority.contains(':') {
            return Err(HttpError::Address(self.authority.clone()));
        }
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in self.authority.to_socket_addrs()?.take(4) {
            match TcpStream::connect_timeout(&addr, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
                    stream.set_nodelay(true)?;
                    return Ok(BufReader::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last.into())
    }

    fn exchange(&mut self, mut stream: BufReader<TcpStream>, path: &str) -> Result<Vec<u8>, HttpError> {
        let mut request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: application/json\r\nUser-Agent: zerver-view\r\n",
            self.authority
        );
        if let Some(token) = &self.token {
            request.push_str("Authorization: Bearer ");
            request.push_str(token);
            request.push_str("\r\n");
        }
        request.push_str("\r\n");
        stream.get_mut().write_all(request.as_bytes())?;
        let answer = read_answer(&mut stream)?;
        if answer.reusable {
            self.stream = Some(stream);
        }
        if answer.status == 200 { Ok(answer.body) } else { Err(HttpError::Status { status: answer.status }) }
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    reusable: bool,
}

fn read_answer(stream: &mut impl BufRead) -> Result<Answer, HttpError> {
    let line = read_line(stream)?;
    let mut words = line.split_ascii_whitespace();
    let version = words.next().unwrap_or_default();
    if !version.starts_with("HTTP/1.") {
        return Err(HttpError::Protocol("no status line"));
    }
    let status: u16 = words.next().and_then(|w| w.parse().ok()).ok_or(HttpError::Protocol("no status"))?;
    let (mut length, mut chunked, mut close) = (None, false, version == "HTTP/1.0");
    for n in 0.. {
        if n == LINES_MAX {
            return Err(HttpError::Protocol("too many headers"));
        }
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or(HttpError::Protocol("a header without a colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse::<u64>().map_err(|_| HttpError::Protocol("a length that is no number"))?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.to_ascii_lowercase().ends_with("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            close = value.eq_ignore_ascii_case("close");
        }
    }
    let mut body = Vec::new();
    if chunked {
        read_chunks(stream, &mut body)?;
    } else if let Some(length) = length {
        if length > BODY_MAX {
            return Err(HttpError::Protocol("the body is too long"));
        }
        if stream.take(length).read_to_end(&mut body)? as u64 != length {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    } else {
        close = true;
        stream.take(BODY_MAX).read_to_end(&mut body)?;
    }
    Ok(Answer { status, body, reusable: !close })
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> Result<(), HttpError> {
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| HttpError::Protocol("a chunk without its size"))?;
        if size == 0 {
            // The trailers, up to the empty line.
            for _ in 0..LINES_MAX {
                if read_line(stream)?.is_empty() {
                    return Ok(());
                }
            }
            return Err(HttpError::Protocol("too many trailers"));
        }
        if body.len() as u64 + size.min(BODY_MAX) > BODY_MAX || size > BODY_MAX {
            return Err(HttpError::Protocol("the body is too long"));
        }
        if stream.take(size).read_to_end(body)? as u64 != size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if !read_line(stream)?.is_empty() {
            return Err(HttpError::Protocol("a chunk longer than its size"));
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> Result<String, HttpError> {
    let mut line = Vec::new();
    stream.take(LINE_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        let error =
            if line.len() as u64 >= LINE_MAX - 1 { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
        return Err(io::Error::from(error).into());
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| HttpError::Protocol("a head that is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Answer, HttpError> {
        read_answer(&mut text.as_bytes())
    }

    #[test]
    fn bodies_are_read_by_length_by_chunks_and_to_the_end() {
        let by_length = read("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}tail").unwrap();
        assert_eq!((by_length.body.as_slice(), by_length.reusable), (&b"{}"[..], true));
        let chunked =
            read("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n1\r\nd\r\n0\r\nT: x\r\n\r\n")
                .unwrap();
        assert_eq!(chunked.body, b"abcd");
        let to_end = read("HTTP/1.1 503 No\r\n\r\nbusy").unwrap();
        assert_eq!((to_end.status, to_end.body.as_slice(), to_end.reusable), (503, &b"busy"[..], false));
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_an_error() {
        for text in [
            "",
            "SSH-2.0-x\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
        let client = |authority| Client::new(authority, None).get("/").map_err(|e| e.to_string());
        assert!(client("https:").is_err_and(|e| e.contains("plain http://")));
        assert!(client("gateway").is_err_and(|e| e.contains("no port")));
        assert!(HttpError::Status { status: 401 }.to_string().contains("--token"));
    }
}
