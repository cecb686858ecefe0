//! Prometheus' text format 0.0.4 and OpenMetrics 1.0.

use std::fmt::{Display, Write as _};

use super::table::{Family, Kind};

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/plain; version=0.0.4`: what node_exporter and every scraper reads.
    Text,
    /// `application/openmetrics-text; version=1.0.0`: with exemplars.
    OpenMetrics,
}

impl Format {
    /// What an HTTP client asks for; text if it says nothing of it.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// For the header of that name.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One packet that a series counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Labels: names and values, at most 128 characters together.
    pub labels: Vec<(&'static str, String)>,
    /// Seconds since the epoch.
    pub time: f64,
}

/// Longest labels of an exemplar, names and values together (OpenMetrics 1.0).
const LONGEST_EXEMPLAR: usize = 128;

/// A page in the making.
#[derive(Debug)]
pub struct Encoder {
    format: Format,
    page: String,
}

impl Encoder {
    /// An empty page.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            page: String::with_capacity(16 << 10),
        }
    }

    /// Begins a metric.
    pub fn family(&mut self, family: &Family) {
        let name = match self.format {
            // OpenMetrics names the family without the suffix of its samples.
            Format::OpenMetrics => family.name.strip_suffix("_total").unwrap_or(family.name),
            Format::Text => family.name,
        };
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        self.put(format_args!("# HELP {name} "));
        // In help texts OpenMetrics escapes quotes, the text format does not.
        let help = family.help.replace('\\', "\\\\");
        match self.format {
            Format::OpenMetrics => self.page.push_str(&help.replace('"', "\\\"")),
            Format::Text => self.page.push_str(&help),
        }
        self.put(format_args!("\n# TYPE {name} {kind}\n"));
    }

    /// One value. There are as many `values` as the family has labels.
    pub fn sample(
        &mut self,
        family: &Family,
        values: &[&str],
        number: impl Display,
        exemplar: Option<&Exemplar>,
    ) {
        self.page.push_str(family.name);
        let labels = family.labels.iter().copied().zip(values.iter().copied());
        if !values.is_empty() {
            self.labels(labels);
        }
        self.put(format_args!(" {number}"));
        if let (Format::OpenMetrics, Some(exemplar)) = (self.format, exemplar) {
            let mut room = LONGEST_EXEMPLAR;
            let labels = exemplar.labels.iter().filter_map(|(name, value)| {
                room = room.checked_sub(name.chars().count() + value.chars().count())?;
                Some((*name, value.as_str()))
            });
            let labels: Vec<(&str, &str)> = labels.collect();
            self.page.push_str(" # ");
            self.labels(labels);
            self.put(format_args!(" 1 {:.3}", exemplar.time));
        }
        self.page.push('\n');
    }

    /// A metric of one value without labels.
    pub fn single(&mut self, family: &Family, number: impl Display) {
        self.family(family);
        self.sample(family, &[], number, None);
    }

    /// The page.
    #[must_use]
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.page.push_str("# EOF\n");
        }
        self.page
    }

    fn labels<'a>(&mut self, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut separator = '{';
        for (name, value) in labels {
            self.put(format_args!("{separator}{name}=\""));
            for character in value.chars() {
                match character {
                    '\\' => self.page.push_str("\\\\"),
                    '"' => self.page.push_str("\\\""),
                    '\n' => self.page.push_str("\\n"),
                    other => self.page.push(other),
                }
            }
            self.page.push('"');
            separator = ',';
        }
        if separator == '{' {
            self.page.push('{');
        }
        self.page.push('}');
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.page.write_fmt(text);
    }
}
