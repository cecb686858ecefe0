//! The flight recorder's options.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{Usage, duration};

/// How long before a diagnosis packets are kept, and after it, unless told otherwise.
const TIME: Duration = Duration::from_secs(10);
/// Files that are kept, unless told otherwise.
const KEEP: u32 = 20;
/// Beyond this, memory and not time is the bound.
const LONGEST: Duration = Duration::from_secs(600);

/// What the user typed.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct FlightArgs {
    /// When something begins to drop packets, write those dropped around it to a pcapng file in this directory
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Flight recorder"
    )]
    pub flight_recorder: Option<PathBuf>,
    /// How long before and after [default: 10s]
    #[arg(long, global = true, value_name = "TIME", value_parser = duration::parse, help_heading = "Flight recorder")]
    pub flight_time: Option<Duration>,
    /// How many files are kept, the newest [default: 20]
    #[arg(
        long,
        global = true,
        value_name = "N",
        help_heading = "Flight recorder"
    )]
    pub flight_keep: Option<u32>,
    /// The first bytes behind the headers too (128 bytes in all)
    #[arg(long, global = true, help_heading = "Flight recorder")]
    pub flight_payload: bool,
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// Where files are written.
    pub directory: PathBuf,
    /// How long before a diagnosis begins, and after it, packets are kept.
    pub time: Duration,
    /// Files that are kept.
    pub keep: u32,
    /// Whether bytes behind the headers are kept.
    pub payload: bool,
}

impl Flight {
    /// With its defaults.
    #[must_use]
    pub fn to(directory: PathBuf) -> Self {
        Self {
            directory,
            time: TIME,
            keep: KEEP,
            payload: false,
        }
    }

    /// Checks what it was told.
    ///
    /// # Errors
    /// A sentence without the option's name: no time, too long a time, no file.
    pub fn check(&self) -> Result<(), String> {
        if self.time.is_zero() || self.time > LONGEST {
            return Err("expected a time from 1ms to 10m for the flight recorder".to_owned());
        }
        if self.keep == 0 {
            return Err("the flight recorder keeps at least one file".to_owned());
        }
        Ok(())
    }
}

impl FlightArgs {
    /// Puts what was typed over `before`: what is known already, if anything.
    ///
    /// # Errors
    /// An option without a directory, or a value that makes no sense.
    pub fn over(&self, before: Option<Flight>) -> Result<Option<Flight>, Usage> {
        let flight = match (&self.flight_recorder, before) {
            (Some(directory), Some(before)) => Some(Flight {
                directory: directory.clone(),
                ..before
            }),
            (Some(directory), None) => Some(Flight::to(directory.clone())),
            (None, before) => before,
        };
        let Some(mut flight) = flight else {
            let given = self.flight_time.is_some() || self.flight_keep.is_some();
            if given || self.flight_payload {
                return Err(Usage(
                    "the flight recorder needs a directory for its files; add --flight-recorder DIR"
                        .to_owned(),
                ));
            }
            return Ok(None);
        };
        flight.time = self.flight_time.unwrap_or(flight.time);
        flight.keep = self.flight_keep.unwrap_or(flight.keep);
        flight.payload |= self.flight_payload;
        flight.check().map_err(Usage)?;
        Ok(Some(flight))
    }
}
