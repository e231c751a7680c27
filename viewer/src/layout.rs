//! Where things are on screen: functions of the size alone, shared by drawing and by the mouse.

use ratatui::layout::Rect;

use crate::keys::Screen;
use crate::pen::cast;

/// Smaller terminals only say what they need.
pub(crate) const LEAST: (u16, u16) = (60, 15);

/// The strips every screen has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strips {
    pub(crate) header: Rect,
    pub(crate) tabs: Rect,
    pub(crate) banner: Rect,
    pub(crate) body: Rect,
    pub(crate) footer: Rect,
}

pub(crate) fn strips((width, height): (u16, u16)) -> Strips {
    let row = |y: u16| Rect { x: 0, y: y.min(height), width, height: u16::from(y < height) };
    // A verdict is a sentence: where there is room it gets a second line.
    let banner = if height >= 24 { 2 } else { 1 };
    let top = 2 + banner;
    let body = Rect { x: 0, y: top.min(height), width, height: height.saturating_sub(top + 1) };
    Strips {
        header: row(0),
        tabs: row(1),
        banner: Rect { height: banner.min(height.saturating_sub(2)), ..row(2) },
        body,
        footer: row(height.saturating_sub(1).max(top)),
    }
}

/// The tabs with their columns.
pub(crate) fn tabs(width: u16) -> [(Screen, u16, u16); 4] {
    let step = if width >= 100 { 15 } else { 13 };
    Screen::ALL.map(|screen| {
        let from = 1 + step * screen as u16;
        (screen, from, from + cast(screen.name().len()) + 4)
    })
}

/// Cuts an area into rows of these heights; the last takes what is left.
fn rows<const N: usize>(area: Rect, heights: [u16; N]) -> [Rect; N] {
    let mut y = area.y;
    let mut left = area.height;
    let mut place = 0;
    heights.map(|wanted| {
        place += 1;
        let height = if place == N { left } else { wanted.min(left) };
        let row = Rect { y, height, ..area };
        y += height;
        left -= height;
        row
    })
}

/// The routes' table and the latency × time picture.
pub(crate) fn overview(body: Rect) -> [Rect; 2] {
    let heat = match body.height {
        30.. => 13,
        18.. => 9,
        _ => 0,
    };
    rows(body, [body.height - heat, heat])
}

/// The filter, the list, and the selected request.
pub(crate) fn requests(body: Rect) -> [Rect; 3] {
    let detail = if body.height >= 18 { 4 } else { 0 };
    rows(body, [3, body.height.saturating_sub(3 + detail), detail])
}

/// The request's head line, the lanes, the critical path and the selected node.
pub(crate) fn timeline(body: Rect) -> [Rect; 4] {
    let foot = if body.height >= 14 { (body.height / 3).clamp(5, 10) } else { 0 };
    let [head, lanes, foot] = rows(body, [1, body.height.saturating_sub(1 + foot), foot]);
    let left = Rect { width: foot.width / 2, ..foot };
    let right = Rect { x: foot.x + left.width, width: foot.width - left.width, ..foot };
    [head, lanes, left, right]
}

/// The cohorts, the table of parts, the findings.
pub(crate) fn compare(body: Rect, parts: usize) -> [Rect; 3] {
    let cohorts = if body.height >= 28 { 8 } else { 6 };
    let left = body.height.saturating_sub(cohorts);
    // Header and total make two more lines, the box another two.
    let table = cast(parts + 4).min(left * 11 / 20).max(left.min(6));
    rows(body, [cohorts, table, 0])
}

/// The room inside a box.
pub(crate) fn inside(area: Rect) -> Rect {
    if area.width < 2 || area.height < 2 {
        return Rect { width: 0, height: 0, ..area };
    }
    Rect { x: area.x + 1, y: area.y + 1, width: area.width - 2, height: area.height - 2 }
}

/// The rows of a list: the room inside its box below the line of headings.
pub(crate) fn list(area: Rect, headings: u16) -> Rect {
    let room = inside(area);
    let headings = headings.min(room.height);
    Rect { y: room.y + headings, height: room.height - headings, ..room }
}

/// The first row shown of a list of `len`, so that the one under the cursor is in the middle where possible.
pub(crate) fn first_shown(cursor: usize, len: usize, height: u16) -> usize {
    let height = usize::from(height);
    cursor.saturating_sub(height / 2).min(len.saturating_sub(height))
}

/// A cursor moved by some rows within a list; the extremes go to its ends.
pub(crate) fn moved(cursor: usize, by: isize, len: usize) -> usize {
    match by {
        isize::MIN => 0,
        isize::MAX => len.saturating_sub(1),
        by => cursor.saturating_add_signed(by).min(len.saturating_sub(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_and_rows_stay_on_the_screen_at_any_size() {
        for width in [0, 1, 59, 80, 300] {
            for height in 0..101 {
                let screen = Rect::new(0, 0, width, height);
                let s = strips((width, height));
                let mut all = vec![s.header, s.tabs, s.banner, s.body, s.footer];
                all.extend(overview(s.body));
                all.extend(requests(s.body));
                all.extend(timeline(s.body));
                all.extend(compare(s.body, 9));
                for area in all {
                    assert_eq!(area, area.intersection(screen), "{width}x{height}");
                }
            }
        }
    }

    #[test]
    fn the_cursor_is_always_shown() {
        for cursor in 0..50 {
            let first = first_shown(cursor, 50, 7);
            assert!(first <= cursor && cursor < first + 7 && first + 7 <= 50);
        }
        assert_eq!(first_shown(0, 0, 0), 0);
        assert_eq!(first_shown(3, 4, 10), 0);
    }
}
