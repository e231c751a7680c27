//! Writing into a screen buffer without ever leaving it: clipped text, boxes and bars, data made harmless.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::theme::{Glyphs, Role, Theme};

/// A buffer, the look of things, and nothing that can panic: whatever lies outside is not drawn.
pub(crate) struct Pen<'a> {
    buffer: &'a mut Buffer,
    pub(crate) theme: Theme,
    pub(crate) glyphs: &'static Glyphs,
}

impl<'a> Pen<'a> {
    pub(crate) fn new(buffer: &'a mut Buffer, theme: Theme, glyphs: &'static Glyphs) -> Self {
        Self { buffer, theme, glyphs }
    }

    pub(crate) fn area(&self) -> Rect {
        self.buffer.area
    }

    /// Writes `text` at column `x` of row `y` of `area`, cut with an ellipsis at its right edge; answers the column
    /// after it. Wide characters count as two.
    pub(crate) fn text(&mut self, area: Rect, x: u16, y: u16, text: &str, role: Role) -> u16 {
        let style = self.theme.style(role);
        self.styled(area, x, y, text, style)
    }

    fn styled(&mut self, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
        if x >= area.width || y >= area.height {
            return x;
        }
        let room = usize::from(area.width - x);
        let fits = text.chars().map(width).sum::<usize>() <= room;
        let limit = if fits { room } else { room - 1 };
        let mut at = 0;
        for c in text.chars() {
            let wide = width(c);
            if at + wide > limit {
                break;
            }
            self.put(area, x + cast(at), y, c, style);
            at += wide;
        }
        if !fits {
            self.put(area, x + cast(at), y, self.glyphs.ellipsis, style);
            at += 1;
        }
        x + cast(at)
    }

    /// Writes `text` so that it ends before column `right`.
    pub(crate) fn right(&mut self, area: Rect, right: u16, y: u16, text: &str, role: Role) {
        let wide = cast(text.chars().map(width).sum());
        self.text(area, right.saturating_sub(wide), y, text, role);
    }

    /// Writes one character; control characters are replaced.
    pub(crate) fn glyph(&mut self, area: Rect, x: u16, y: u16, c: char, role: Role) {
        let style = self.theme.style(role);
        self.put(area, x, y, c, style);
    }

    fn put(&mut self, area: Rect, x: u16, y: u16, c: char, style: Style) {
        if x >= area.width || y >= area.height {
            return;
        }
        let c = if dangerous(c) { self.glyphs.control } else { c };
        let (column, row) = (area.x.saturating_add(x), area.y.saturating_add(y));
        let next = self.buffer.area.right().min(area.right());
        if let Some(cell) = self.buffer.cell_mut((column, row)) {
            if c.width() == Some(0) {
                // A mark that joins the character before; on its own it would have no cell.
                return;
            }
            if width(c) == 2 && column + 1 >= next {
                cell.set_char(' ').set_style(style);
                return;
            }
            cell.set_char(c).set_style(style);
            if width(c) == 2
                && let Some(shadow) = self.buffer.cell_mut((column + 1, row))
            {
                shadow.set_symbol(" ").set_style(style);
            }
        }
    }

    /// Marks a whole row as selected, over what it holds.
    pub(crate) fn select(&mut self, area: Rect, y: u16) {
        if y < area.height {
            let row = Rect { y: area.y + y, height: 1, ..area }.intersection(self.buffer.area);
            self.buffer.set_style(row, self.theme.style(Role::Selected));
        }
    }

    /// Draws a box with its title on the left and a remark on the right of its upper edge; answers the room inside.
    pub(crate) fn frame(&mut self, area: Rect, title: &str, remark: &str) -> Rect {
        if area.width < 2 || area.height < 2 {
            return Rect { width: 0, height: 0, ..area };
        }
        let set = self.glyphs.border;
        let (right, bottom) = (area.width - 1, area.height - 1);
        let first = |s: &str| s.chars().next().unwrap_or(' ');
        for x in 1..right {
            self.glyph(area, x, 0, first(set.horizontal_top), Role::Border);
            self.glyph(area, x, bottom, first(set.horizontal_bottom), Role::Border);
        }
        for y in 1..bottom {
            self.glyph(area, 0, y, first(set.vertical_left), Role::Border);
            self.glyph(area, right, y, first(set.vertical_right), Role::Border);
        }
        self.glyph(area, 0, 0, first(set.top_left), Role::Border);
        self.glyph(area, right, 0, first(set.top_right), Role::Border);
        self.glyph(area, 0, bottom, first(set.bottom_left), Role::Border);
        self.glyph(area, right, bottom, first(set.bottom_right), Role::Border);
        let edge = Rect { width: right.saturating_sub(1), ..area };
        let mut after = 2;
        if !title.is_empty() {
            after = self.text(edge, 2, 0, &format!(" {title} "), Role::Title);
        }
        let wide = cast(remark.width()) + 2;
        if !remark.is_empty() && after + wide < edge.width {
            self.text(edge, edge.width - wide, 0, &format!(" {remark} "), Role::Dim);
        }
        Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 }
    }

    /// Blanks a region, for overlays.
    pub(crate) fn clear(&mut self, area: Rect) {
        for y in 0..area.height {
            for x in 0..area.width {
                self.glyph(area, x, y, ' ', Role::Text);
            }
        }
    }

    /// Draws shares of a whole side by side, each part in its glyph; a part that is there has at least one cell.
    pub(crate) fn bar(&mut self, area: Rect, x: u16, y: u16, cells: u16, parts: &[(f64, char, Role)]) {
        let whole: f64 = parts.iter().map(|p| p.0.max(0.0)).sum();
        if whole <= 0.0 {
            return;
        }
        let mut done = 0.0;
        let mut at = 0;
        for (size, glyph, role) in parts {
            done += size.max(0.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and cells")]
            let end = ((done / whole) * f64::from(cells)).round() as u16;
            while at < end.min(cells) {
                self.glyph(area, x + at, y, *glyph, *role);
                at += 1;
            }
        }
    }
}

/// The cells a character takes; control characters take the one of their replacement.
fn width(c: char) -> usize {
    if dangerous(c) { 1 } else { c.width().unwrap_or(1) }
}

/// Control characters, and the marks that turn the direction of writing.
fn dangerous(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns as the terminal counts them.
pub(crate) fn cast(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// `text` cut or filled with blanks to exactly `cells` columns.
pub(crate) fn fit(text: &str, cells: usize) -> String {
    let wide = text.chars().map(width).sum::<usize>();
    if wide <= cells {
        return format!("{text}{}", " ".repeat(cells - wide));
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        if used + width(c) + 1 > cells {
            break;
        }
        used += width(c);
        out.push(c);
    }
    if cells > 0 {
        out.push('…');
        used += 1;
    }
    out.push_str(&" ".repeat(cells.saturating_sub(used)));
    out
}

/// Breaks a sentence at blanks into lines of at most `cells` columns; a longer word is cut.
pub(crate) fn wrap(text: &str, cells: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let word = if word.width() > cells { fit(word, cells) } else { word.to_owned() };
        if !line.is_empty() && line.width() + 1 + word.width() > cells {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(cells: u16, text: &str) -> String {
        let area = Rect::new(0, 0, cells, 1);
        let mut buffer = Buffer::empty(area);
        Pen::new(&mut buffer, Theme::Mono, Glyphs::UNICODE).text(area, 0, 0, text, Role::Text);
        buffer.content().iter().map(|cell| cell.symbol()).collect()
    }

    #[test]
    fn text_is_cut_at_the_edge_and_made_harmless() {
        assert_eq!(written(5, "price"), "price");
        assert_eq!(written(5, "prices"), "pric…");
        assert_eq!(written(6, "a\x1b[31m"), "a␛[31m");
        assert_eq!(written(5, "価格表"), "価 格 …");
        assert_eq!(written(0, "x"), "");
        assert_eq!(written(4, "\u{202e}abc"), "␛abc");
    }

    #[test]
    fn fitting_and_wrapping_keep_the_width() {
        assert_eq!(fit("abc", 5), "abc  ");
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(fit("価格", 3), "価…");
        assert_eq!(fit("x", 0), "");
        assert_eq!(wrap("94% of the extra waits", 10), ["94% of the", "extra", "waits"]);
        assert!(wrap("", 10).is_empty());
    }

    #[test]
    fn nothing_is_drawn_outside() {
        let area = Rect::new(0, 0, 3, 2);
        let mut buffer = Buffer::empty(area);
        let mut pen = Pen::new(&mut buffer, Theme::Auto, Glyphs::ASCII);
        let far = Rect::new(1, 1, 50, 50);
        pen.text(far, 0, 0, "long text", Role::Alarm);
        pen.frame(far, "title", "remark");
        pen.bar(far, 1, 0, 40, &[(1.0, 'x', Role::Run)]);
        pen.select(far, 40);
        pen.clear(far);
        assert_eq!(buffer.area, area);
    }
}
