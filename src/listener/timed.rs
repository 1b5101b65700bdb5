//! Bodies of requests, whose time is limited.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Sleep, sleep};

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
