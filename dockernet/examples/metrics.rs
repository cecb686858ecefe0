//! Prints the service's metrics and journal fields as Markdown: what `cargo xtask docs` writes to `docs/metrics.md`.

fn main() {
    print!("{}", dockernet::monitor::markdown());
}
