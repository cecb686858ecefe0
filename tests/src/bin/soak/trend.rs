//! A line through measurements.

/// By how much a quantity rises over all of the points' span, by the line of least squares; 0 for less than two.
pub(crate) fn rise(points: &[(f64, f64)]) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return 0.0;
    };
    let number: f64 = points.iter().map(|_| 1.0).sum();
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if spread == 0.0 {
        return 0.0;
    }
    let together: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    together / spread * (last.0 - first.0)
}

/// The middle one; 0 for none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_rises_by_what_it_rises() {
        let points: Vec<(f64, f64)> = (0..10)
            .map(|x| (f64::from(x), 5.0 + 2.0 * f64::from(x)))
            .collect();
        assert!((rise(&points) - 18.0).abs() < 1e-9);
        assert_eq!(rise(&[(1.0, 5.0)]), 0.0);
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
    }
}
