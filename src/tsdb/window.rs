//! The differing bits of two values in a row, as a run of bits between zeros: Gorilla's idea.

use super::bits::{BitReader, BitWriter};

/// Where the differing bits of the last value that had its own window lay. Writer and reader each keep
/// one, which start alike and change alike.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    leading: u8,
    /// How many bits the window has; 0 while there is none.
    significant: u8,
}

impl Window {
    /// Writes which bits differ.
    #[inline]
    pub(super) fn write(&mut self, difference: u64, bits: &mut BitWriter) {
        if difference == 0 {
            bits.write(0, 1);
            return;
        }
        let leading = difference.leading_zeros().min(31);
        let trailing = difference.trailing_zeros();
        let significant = 64 - leading - trailing;
        let (old_leading, old_significant) = (u32::from(self.leading), u32::from(self.significant));
        let fits = old_significant > 0
            && leading >= old_leading
            && trailing >= 64 - old_leading - old_significant
            // A window of its own costs 11 bits more, and may still be the cheaper one.
            && old_significant <= significant + 11;
        if fits {
            bits.write(0b10, 2);
            bits.write(difference >> (64 - old_leading - old_significant), old_significant);
        } else {
            let header = 0b11 << 11 | u64::from(leading) << 6 | u64::from(significant - 1);
            bits.write(header, 13);
            bits.write(difference >> trailing, significant);
            self.leading = leading as u8;
            self.significant = significant as u8;
        }
    }

    /// Reads which bits differ; nothing if the bits do not say it.
    #[expect(clippy::inline_always, reason = "a call for each point makes reading floats a tenth slower")]
    #[inline(always)]
    pub(super) fn read(&mut self, bits: &mut BitReader<'_>) -> Option<u64> {
        match bits.read_ones(2)? {
            0 => return Some(0),
            1 if self.significant == 0 => return None,
            1 => {}
            _ => {
                let header = bits.read(11)?;
                self.leading = (header >> 6) as u8;
                self.significant = (header & 63) as u8 + 1;
            }
        }
        let shift = 64_u32.checked_sub(u32::from(self.leading) + u32::from(self.significant))?;
        Some(bits.read(u32::from(self.significant))? << shift)
    }

    /// Reads them from the 63 upper bits of `ahead` if they lie in the window that there is, and tells how
    /// many bits that took; else nothing.
    #[inline]
    pub(super) fn read_short(self, ahead: u64) -> Option<(u64, u32)> {
        let (leading, significant) = (u32::from(self.leading), u32::from(self.significant));
        match ahead >> 62 {
            0 | 1 => Some((0, 1)),
            2 if (1..=61).contains(&significant) => {
                let shift = 64_u32.checked_sub(leading + significant)?;
                Some((ahead << 2 >> (64 - significant) << shift, 2 + significant))
            }
            _ => None,
        }
    }
}
