//! The frames of a WebSocket. Pure. Source: RFC 6455, section 5.

/// The most bytes that a frame of a control message may carry.
pub(super) const MAX_CONTROL_BYTES: usize = 125;

/// Lengths that stand for another in the two or eight bytes that follow.
const IN_TWO: u8 = 0x7E;
const IN_EIGHT: u8 = 0x7F;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    /// A further part of a message.
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        let known = [Self::Continuation, Self::Text, Self::Binary, Self::Close, Self::Ping, Self::Pong];
        known.into_iter().find(|opcode| *opcode as u8 == bits)
    }

    /// Whether it is about the connection, and may come between the parts of a message.
    pub(super) fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }
}

/// Why bytes are no frame that a server may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the server sent a frame with reserved bits set, which no extension was agreed on for")]
    Reserved,
    #[error("the server sent a frame with the unknown opcode {0}")]
    Opcode(u8),
    #[error("the server sent a masked frame")]
    Masked,
    #[error("the server sent a control frame in pieces or of more than {MAX_CONTROL_BYTES} bytes")]
    Control,
}

/// The beginning of a frame: what its first two bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// Whether the message ends with this frame.
    pub(super) is_final: bool,
    pub(super) opcode: Opcode,
    pub(super) length: Length,
}

/// How many bytes a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    Is(u8),
    /// Two bytes follow that say it.
    InTwo,
    /// Eight bytes follow that say it.
    InEight,
}

impl Start {
    /// Reads what a server sent.
    pub(super) fn read([first, second]: [u8; 2]) -> Result<Self, FrameError> {
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved);
        }
        let bits = first & 0x0F;
        let opcode = Opcode::from_bits(bits).ok_or(FrameError::Opcode(bits))?;
        if second & 0x80 != 0 {
            return Err(FrameError::Masked);
        }
        let length = match second & 0x7F {
            IN_TWO => Length::InTwo,
            IN_EIGHT => Length::InEight,
            length => Length::Is(length),
        };
        let is_final = first & 0x80 != 0;
        if opcode.is_control() && !(is_final && matches!(length, Length::Is(_))) {
            return Err(FrameError::Control);
        }
        Ok(Self { is_final, opcode, length })
    }
}

/// A whole message of a client as one frame.
pub(super) fn encode(opcode: Opcode, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    const IS_FINAL: u8 = 0x80;
    const IS_MASKED: u8 = 0x80;
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(IS_FINAL | opcode as u8);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ 0..=125), _) => frame.push(IS_MASKED | length),
        (_, Ok(length)) => {
            frame.push(IS_MASKED | IN_TWO);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            frame.push(IS_MASKED | IN_EIGHT);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    // The examples of RFC 6455, section 5.7.
    #[test]
    fn what_a_server_sends_begins_as_in_the_standard() {
        let check = |bytes: [u8; 2], expected: Result<(bool, Opcode, Length), FrameError>| {
            let found = Start::read(bytes).map(|start| (start.is_final, start.opcode, start.length));
            assert_eq!(found, expected, "{bytes:02x?}");
        };
        check([0x81, 0x05], Ok((true, Opcode::Text, Length::Is(5))));
        check([0x01, 0x03], Ok((false, Opcode::Text, Length::Is(3))));
        check([0x80, 0x02], Ok((true, Opcode::Continuation, Length::Is(2))));
        check([0x89, 0x05], Ok((true, Opcode::Ping, Length::Is(5))));
        check([0x82, 0x7E], Ok((true, Opcode::Binary, Length::InTwo)));
        check([0x82, 0x7F], Ok((true, Opcode::Binary, Length::InEight)));
        check([0x81, 0x85], Err(FrameError::Masked));
        check([0xC1, 0x05], Err(FrameError::Reserved));
        check([0x83, 0x00], Err(FrameError::Opcode(3)));
        check([0x09, 0x00], Err(FrameError::Control));
        check([0x88, 0x7E], Err(FrameError::Control));
    }

    #[test]
    fn what_a_client_sends_is_masked_and_tells_its_length() {
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(encode(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d]), hello);
        let check = |length: usize, expected: &[u8]| {
            let frame = encode(Opcode::Binary, &vec![7; length], [0; 4]);
            assert_eq!(&frame[..expected.len()], expected, "{length}");
            assert_eq!(frame.len(), expected.len() + 4 + length, "{length}");
        };
        check(0, &[0x82, 0x80]);
        check(125, &[0x82, 0xFD]);
        check(126, &[0x82, 0xFE, 0, 126]);
        check(65_535, &[0x82, 0xFE, 0xFF, 0xFF]);
        check(65_536, &[0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
