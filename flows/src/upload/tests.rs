//! Both ends of a body, and what is between them.

use super::*;
use crate::exit::Fail;
use futures_util::{FutureExt as _, StreamExt as _};
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Wake;

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

fn peek(upload: &Upload, bytes: usize) -> Option<Result<Bytes, UploadError>> {
    poll_fn(|cx| upload.poll_peek(bytes, cx)).now_or_never()
}

fn rest(pieces: &mut Pieces) -> Vec<Result<Bytes, UploadError>> {
    std::iter::from_fn(|| pieces.next().now_or_never().flatten()).take(9).collect()
}

#[test]
fn what_was_looked_at_is_passed_on_too() {
    let (upload, mut writer) = Upload::channel(Some(6));
    assert_eq!(writer.wanted().now_or_never(), None, "nobody looks, so nothing is read");
    assert_eq!(peek(&upload, 3), None);
    assert_eq!(writer.wanted().now_or_never(), Some(()));
    writer.push("ab".into());
    assert_eq!(writer.wanted().now_or_never(), None, "one piece for one wish");
    assert_eq!(peek(&upload, 3), None);
    writer.push("cd".into());
    assert_eq!(peek(&upload, 3), Some(Ok("abc".into())));
    assert_eq!(peek(&upload, 1), Some(Ok("a".into())));
    let mut pieces = upload.open().expect("it was not passed on yet");
    assert_eq!(rest(&mut pieces), [Ok(Bytes::from("abcd"))]);
    writer.push("ef".into());
    writer.end(Ok(()));
    assert_eq!((pieces.left(), pieces.is_over()), (Some(2), false));
    assert_eq!((rest(&mut pieces), pieces.is_over()), (vec![Ok(Bytes::from("ef"))], true));
    assert_eq!((upload.progress(), upload.seen()), ((6, false), "abc".into()));
    assert_eq!(peek(&upload, 2), Some(Ok("ab".into())), "what was seen stays known");
}

#[test]
fn it_is_passed_on_once_and_may_be_opened_again_while_nothing_was_taken() {
    let upload = Upload::whole("abc".into());
    let first = upload.open().expect("it is free");
    assert!(upload.open().is_none(), "somebody has it");
    drop(first);
    let mut second = upload.open().expect("nothing was taken");
    assert_eq!(rest(&mut second), [Ok(Bytes::from("abc"))]);
    drop(second);
    assert!(upload.open().is_none() && upload.is_begun());
}

#[test]
fn every_way_in_which_it_does_not_arrive_is_told() {
    for (how, status) in
        [(UploadError::TooLarge { limit: 3 }, 413), (UploadError::Timeout, 408), (UploadError::Broken, 400)]
    {
        let (upload, mut writer) = Upload::channel(None);
        let mut pieces = upload.open().expect("it is free");
        writer.push("ab".into());
        if how == UploadError::Broken {
            drop(writer)
        } else {
            writer.end(Err(how))
        }
        assert_eq!(rest(&mut pieces)[..2], [Ok(Bytes::from("ab")), Err(how)]);
        assert_eq!((upload.error(), Fail::from(how).status.as_u16()), (Some(how), status));
    }
}

#[test]
fn all_who_look_are_woken_and_a_wait_for_the_client_is_measured() {
    let clock = Clock::manual();
    let (upload, mut writer) = Upload::channel(None);
    upload.measure(&clock);
    let wakes: [Arc<Count>; 2] = std::array::from_fn(|_| Arc::default());
    let look = |n: usize| {
        let waker = Waker::from(Arc::clone(&wakes[n]));
        upload.poll_peek(1, &mut Context::from_waker(&waker))
    };
    assert!(look(0).is_pending() && look(1).is_pending() && look(1).is_pending());
    writer.push("a".into());
    assert_eq!(wakes.each_ref().map(|count| count.0.load(Relaxed)), [1, 1]);
    assert!(look(0).is_ready() && look(1).is_ready());
    let mut pieces = upload.open().expect("it is free");
    rest(&mut pieces);
    clock.advance(Duration::from_millis(3));
    assert_eq!(upload.waited(), Duration::from_millis(3));
    writer.push("b".into());
    rest(&mut pieces);
    assert_eq!(upload.waited(), Duration::from_millis(3));
}
