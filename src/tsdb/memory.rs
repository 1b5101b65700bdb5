//! What things cost in memory, so that the ceiling means what the operating system sees.

/// What an allocation of `size` bytes takes from the heap: glibc adds a word and rounds up to 16, with
/// a minimum of 32. Source: glibc malloc/malloc.c, `request2size`.
pub(super) fn allocation(size: usize) -> usize {
    if size == 0 { 0 } else { (size + 8).next_multiple_of(16).max(32) }
}

/// Bytes that came and went within one operation.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Balance {
    bytes: i64,
}

impl Balance {
    /// Counts a heap block of `size` bytes in.
    pub(super) fn add(&mut self, size: usize) {
        self.bytes += allocation(size) as i64;
    }

    /// Counts a heap block of `size` bytes out.
    pub(super) fn remove(&mut self, size: usize) {
        self.bytes -= allocation(size) as i64;
    }

    /// Counts a heap block that changed its size.
    pub(super) fn resize(&mut self, before: usize, after: usize) {
        self.remove(before);
        self.add(after);
    }

    /// What came less what went.
    pub(super) fn bytes(self) -> i64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_rounded_as_malloc_rounds_them() {
        for (size, expected) in [(0, 0), (1, 32), (24, 32), (25, 48), (40, 48), (41, 64), (200, 208)] {
            assert_eq!(allocation(size), expected, "{size}");
        }
    }

    #[test]
    fn what_came_and_went_balances() {
        let mut balance = Balance::default();
        balance.add(100);
        balance.resize(100, 10);
        assert_eq!(balance.bytes(), 32);
        balance.remove(10);
        assert_eq!(balance.bytes(), 0);
    }
}
