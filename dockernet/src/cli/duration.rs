//! Durations as users write them: `500ms`, `10s`, `5m`, `1h30m`.

use std::time::Duration;

/// Ten years: beyond that, adding it to a clock may overflow, and nobody means it.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Reads a duration with its unit (`ms`, `s`, `m`, `h`).
///
/// # Errors
/// One sentence: the unit is missing, it is zero, negative, too long, or no duration at all.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err(format!("the unit is missing; did you mean '{text}s'?"));
    }
    let signed: jiff::SignedDuration = text
        .parse()
        .map_err(|_| "expected a number with a unit, such as 500ms, 10s, 5m or 1h".to_owned())?;
    let duration = Duration::try_from(signed)
        .map_err(|_| "expected a time that is not negative".to_owned())?;
    if duration.is_zero() {
        return Err("expected a time longer than zero".to_owned());
    }
    if duration > LONGEST {
        return Err("expected at most 87600h (ten years)".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("1.5s", 1_500),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            (" 2s ", 2_000),
        ] {
            assert_eq!(
                parse(text).unwrap(),
                Duration::from_millis(milliseconds),
                "{text}"
            );
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        assert_eq!(
            parse("10").unwrap_err(),
            "the unit is missing; did you mean '10s'?"
        );
        for text in [
            "",
            "s",
            "10 parsecs",
            "ten seconds",
            "0s",
            "0ms",
            "-1s",
            "999999999h",
            "1d",
            "nan",
            "inf",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse(&text);
        }
    }
}
