//! Sums that do not lose small terms.

/// A sum with its running error: Neumaier's variant of Kahan summation.
/// Source: Prometheus `util/kahansum`.
#[derive(Debug, Clone, Copy, Default)]
pub struct KahanSum {
    /// The sum as floats add up.
    pub sum: f64,
    /// What the sum lost so far.
    pub compensation: f64,
}

impl KahanSum {
    /// A sum of one term.
    pub fn starting_at(value: f64) -> Self {
        Self { sum: value, compensation: 0.0 }
    }

    /// The sum with one term more.
    #[must_use]
    pub fn plus(self, value: f64) -> Self {
        let total = self.sum + value;
        let compensation = if total.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.compensation + ((self.sum - total) + value)
        } else {
            self.compensation + ((value - total) + self.sum)
        };
        Self { sum: total, compensation }
    }

    /// Adds one term.
    pub fn add(&mut self, value: f64) {
        *self = self.plus(value);
    }

    /// Adds the terms of another sum.
    pub fn merge(&mut self, other: Self) {
        self.add(other.sum);
        if other.compensation != 0.0 {
            self.add(other.compensation);
        }
    }

    /// The sum of the terms multiplied by `factor`.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, compensation: self.compensation * factor }
    }

    /// The sum of all terms.
    pub fn total(self) -> f64 {
        self.sum + self.compensation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compensated_sums_keep_small_terms() {
        let mut sum = KahanSum::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert_eq!(sum.total(), 2.0);
    }
}
