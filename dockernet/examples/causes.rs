//! Prints the catalogue of causes as Markdown: what `cargo xtask docs` writes to `docs/causes.md`.

fn main() {
    print!("{}", dockernet::explain::markdown());
}
