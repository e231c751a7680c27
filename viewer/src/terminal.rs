//! The terminal, taken and given back: raw mode, the second screen, mouse, paste, cursor; on every way out.

use std::io::{self, BufWriter, Stdout, Write};
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossterm::event::{DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, execute, queue};
use ratatui::Terminal as Screen;
use ratatui::backend::CrosstermBackend;

use crate::draw::draw;
use crate::model::Model;

/// A frame of 120 × 36 is about 6 kB; a frame is written with few system calls.
const BUFFER: usize = 64 << 10;

/// The terminal while the viewer has it. Dropping it restores what was before, also after a panic.
pub(crate) struct Terminal {
    screen: Screen<CrosstermBackend<BufWriter<Stdout>>>,
    taken: Arc<AtomicBool>,
    previous: Arc<Hook>,
}

type Hook = dyn Fn(&panic::PanicHookInfo<'_>) + Send + Sync;

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When standard output is not a terminal, or refuses.
    pub(crate) fn take(mouse: bool) -> io::Result<Self> {
        let taken = Arc::new(AtomicBool::new(true));
        let previous: Arc<Hook> = Arc::from(panic::take_hook());
        // A panic on any thread first gives the terminal back, so that its message can be read.
        panic::set_hook(Box::new({
            let (taken, previous) = (Arc::clone(&taken), Arc::clone(&previous));
            move |info| {
                restore(&taken);
                previous(info);
            }
        }));
        let backend = CrosstermBackend::new(BufWriter::with_capacity(BUFFER, io::stdout()));
        let result = enable_raw_mode()
            .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, cursor::Hide))
            .and_then(|()| if mouse { execute!(io::stdout(), EnableMouseCapture) } else { Ok(()) })
            .and_then(|()| Screen::new(backend));
        match result {
            Ok(screen) => Ok(Self { screen, taken, previous }),
            Err(error) => {
                restore(&taken);
                give_hook_back(previous);
                Err(error)
            }
        }
    }

    /// Draws a frame; only the cells that changed are written.
    pub(crate) fn draw(&mut self, model: &Model) -> io::Result<()> {
        // After a panic of another thread the screen already belongs to its message.
        if !self.taken.load(Ordering::SeqCst) {
            return Ok(());
        }
        queue!(self.screen.backend_mut(), BeginSynchronizedUpdate)?;
        self.screen.draw(|frame| draw(model, frame.buffer_mut()))?;
        queue!(self.screen.backend_mut(), EndSynchronizedUpdate)?;
        Write::flush(self.screen.backend_mut())
    }

    /// Draws all cells the next time, whatever the terminal shows.
    pub(crate) fn forget(&mut self) -> io::Result<()> {
        self.screen.clear()
    }

    pub(crate) fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.screen.size()?;
        Ok((size.width, size.height))
    }

    pub(crate) fn mouse(&mut self, on: bool) -> io::Result<()> {
        let out = self.screen.backend_mut();
        if on { execute!(out, EnableMouseCapture) } else { execute!(out, DisableMouseCapture) }
    }

    /// Puts a text into the clipboard of the terminal, which may be at the far end of an SSH connection (OSC 52).
    pub(crate) fn copy(&mut self, text: &str) -> io::Result<()> {
        let sequence = format!("\x1b]52;c;{}\x07", base64(text.as_bytes()));
        let out = self.screen.backend_mut();
        // tmux passes on only what is wrapped for it.
        if std::env::var_os("TMUX").is_some() {
            write!(out, "\x1bPtmux;{}\x1b\\", sequence.replace('\x1b', "\x1b\x1b"))?;
        } else {
            write!(out, "{sequence}")?;
        }
        Write::flush(out)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore(&self.taken);
        // The hook cannot be changed by a thread that panics; the process is at its end then anyway.
        if !std::thread::panicking() {
            give_hook_back(Arc::clone(&self.previous));
        }
    }
}

fn give_hook_back(previous: Arc<Hook>) {
    drop(panic::take_hook());
    panic::set_hook(Box::new(move |info| previous(info)));
}

/// Gives the terminal back, once. Errors have nowhere to go: the terminal may be gone.
fn restore(taken: &AtomicBool) {
    if taken.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout();
        let written = execute!(
            out,
            EndSynchronizedUpdate,
            DisableMouseCapture,
            DisableBracketedPaste,
            LeaveAlternateScreen,
            cursor::Show
        );
        let cooked = disable_raw_mode();
        drop((written, cooked));
    }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte)) << (8 * (3 - three.len()));
        for place in 0..4 {
            if place <= three.len() {
                out.push(char::from(DIGITS[(word >> (18 - 6 * place)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, expected) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }
}
