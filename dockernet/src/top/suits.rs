//! Whether a screen can be drawn here, and what to use where it cannot.

use std::{
    env,
    io::{self, IsTerminal as _},
};

use super::terminal::Input;
use crate::cli::{
    Usage,
    options::{Options, Output},
};

/// What to use instead.
const INSTEAD: &str = "use --drops for text that scrolls, or --drops --output json for programs";

/// # Errors
/// Says what is missing, and what to use instead.
pub(super) fn check(options: &Options) -> Result<(), Usage> {
    let refuse = |why: &str| Err(Usage(format!("top {why}; {INSTEAD}")));
    if options.output == Output::Json {
        return refuse("is a screen and has no JSON");
    }
    if options.nat {
        return Err(Usage(
            "top shows dropped packets; --nat without top shows NAT transitions".to_owned(),
        ));
    }
    if !io::stdout().is_terminal() {
        return refuse("needs a terminal, and standard output is none");
    }
    if Input::open().is_err() {
        return refuse("needs a terminal to read keys from, and there is none");
    }
    match env::var("TERM").as_deref() {
        Err(_) | Ok("") => refuse("needs a terminal that can move its cursor, and TERM is not set"),
        Ok("dumb") => refuse("needs a terminal that can move its cursor, and TERM is dumb"),
        Ok(_) => Ok(()),
    }
}
