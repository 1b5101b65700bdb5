//! Bodies whose time is limited: what a client sends, and what it is sent.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Whether a request did not come whole in time.
#[derive(Debug, Clone, Default)]
pub(super) struct Late(Arc<AtomicBool>);

impl Late {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a client sends, which ends with an error after `allowed`. Gives a flag that is set by then, since
/// whoever reads the body may take the error for any other.
pub(super) fn request(body: Incoming, allowed: Duration) -> (Body, Late) {
    let late = Late::default();
    if body.is_end_stream() {
        return (Body::empty(), late);
    }
    let deadline = Box::pin(sleep(allowed));
    (Body::new(Sent { body, deadline, late: late.clone() }), late)
}

struct Sent {
    body: Incoming,
    deadline: Pin<Box<Sleep>>,
    late: Late,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        // The time first: a client that sends drop by drop always has one more.
        if self.deadline.as_mut().poll(context).is_ready() {
            self.late.0.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(io::ErrorKind::TimedOut.into())));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| frame.map_err(io::Error::other)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The answers on one connection that its client has not received whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Unread(Arc<Mutex<Begun>>);

#[derive(Debug, Default)]
struct Begun {
    /// When they began, each with a number that no other has.
    since: BTreeSet<(Instant, u64)>,
    count: u64,
}

impl Unread {
    /// An answer, as one of those on the connection until all but its last piece has been taken.
    pub(super) fn answer(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let mut begun = self.begun();
        begun.count += 1;
        let entry = (Instant::now(), begun.count);
        begun.since.insert(entry);
        Body::new(Answer { body, rest: Bytes::new(), entry, unread: self.clone() })
    }

    /// Ends once an answer has not been taken for longer than `allowed`.
    pub(super) async fn overdue(&self, allowed: Duration) {
        // Nothing wakes this when an answer begins: one that begins while this sleeps is overdue later.
        let mut look_at = Instant::now() + allowed;
        loop {
            sleep_until(look_at).await;
            let oldest = self.begun().since.first().map(|(since, _)| *since);
            let now = Instant::now();
            look_at = oldest.unwrap_or(now) + allowed;
            if look_at <= now {
                return;
            }
        }
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        // It is whole between any two operations.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much of an answer is passed on at once, in bytes: what is passed on counts as taken.
const PIECE: usize = 64 << 10;

struct Answer {
    body: Body,
    /// What came with one frame and is not passed on yet.
    rest: Bytes,
    entry: (Instant, u64),
    unread: Unread,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context))
                .map(|frame| frame.map(Frame::into_data))
            {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = PIECE.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.unread.begun().since.remove(&self.entry);
    }
}
