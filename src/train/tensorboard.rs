//! TensorBoard's event files: each event a protobuf message in a TFRecord, which frames it with its length and masked
//! CRC-32C checksums. Scalars bear the names that sd-scripts gives them.
//!
//! Every event carries the time at which it was written, from the clock that the caller gives; nothing else in a run's
//! files depends on it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use prost::Message;

use super::config::AdapterConfig;
use super::error::TrainError;
use super::optimizer::Method;
use super::schedule::Course;
use super::stopping::HELD_OUT;
use super::watch::Event;

/// Part of `tensorflow.Event`.
#[derive(Message)]
struct Record {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// In the first event alone.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `tensorflow.Summary`
#[derive(Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

/// Part of `tensorflow.Summary.Value`.
#[derive(Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "4")]
    image: Option<Image>,
}

/// `tensorflow.Summary.Image`
#[derive(Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// 3: red, green, blue.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

/// The checksum of a TFRecord: CRC-32C, rotated and shifted so that a checksum of data that holds checksums is not weak.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A message as it stands in an event file.
fn framed(record: &Record) -> Vec<u8> {
    let data = record.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let mut framed = Vec::with_capacity(data.len() + 16);
    framed.extend(length);
    framed.extend(masked(&length).to_le_bytes());
    framed.extend(&data);
    framed.extend(masked(&data).to_le_bytes());
    framed
}

/// The folder below `logging_dir` that a run's events go to: what `log_prefix` says and the time of the start, then the
/// name that sd-scripts gives its own.
#[must_use]
pub fn folder(logging_dir: &Path, log_prefix: &str, start: Timestamp) -> PathBuf {
    let start = start.strftime("%Y%m%d%H%M%S");
    logging_dir.join(format!("{log_prefix}{start}")).join("network_train")
}

/// An event file that a run writes.
pub struct EventFile<'a> {
    path: PathBuf,
    file: File,
    clock: &'a (dyn Fn() -> Timestamp + Sync),
    names: Names,
    /// The losses of as many updates as an epoch has, or fewer.
    losses: VecDeque<f64>,
    step: u64,
}

/// What the scalars of a run are called and follow from.
struct Names {
    /// Updates of an epoch.
    epoch: usize,
    /// Where the optimizer finds its rate as a multiple of that of the course.
    course: Option<Course>,
    /// Factor on the rate of the text encoders, where they are trained.
    text: Option<f64>,
}

impl<'a> EventFile<'a> {
    /// Begins a file in [`folder`], for a run on so many pictures.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(
        folder: &Path,
        config: &AdapterConfig,
        images: usize,
        clock: &'a (dyn Fn() -> Timestamp + Sync),
    ) -> Result<Self, TrainError> {
        fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
        let seconds = clock().as_second();
        // Two runs that begin in one second have a file each.
        let name = |n: u32| match n {
            0 => format!("events.out.tfevents.{seconds}.assent"),
            n => format!("events.out.tfevents.{seconds}.assent.{n}"),
        };
        let mut n = 0;
        let (path, file) = loop {
            let path = folder.join(name(n));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && n < 1000 => n += 1,
                Err(e) => return Err(TrainError::io(&path)(e)),
            }
        };
        let o = &config.optimisation;
        let of_update = config.data.train_batch_size as u64 * o.gradient_accumulation_steps;
        let prodigy = matches!(o.method(), Ok(Method::Prodigy(_)));
        let names = Names {
            epoch: (images as u64).div_ceil(of_update.max(1)).max(1) as usize,
            course: prodigy.then(|| o.course()),
            text: (config.network.train_text_encoder)
                .then(|| config.network.text_encoder_lr.map_or(1.0, |rate| rate / o.peak())),
        };
        let mut events = Self {
            path,
            file,
            clock,
            names,
            losses: VecDeque::new(),
            step: 0,
        };
        events.put(0, Some("brain.Event:2"), Vec::new())?;
        Ok(events)
    }

    /// Writes what an event says; samples are read from the output folder.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub fn event(&mut self, event: &Event, out: &Path) -> Result<(), TrainError> {
        match event {
            Event::Step {
                step,
                loss,
                lr,
                grad_norm,
                weight_norm,
                update_norm,
            } => {
                self.step = *step;
                if self.losses.len() == self.names.epoch {
                    self.losses.pop_front();
                }
                self.losses.push_back(*loss);
                let average = self.losses.iter().sum::<f64>() / self.losses.len() as f64;
                let mut scalars = vec![("loss/current".to_owned(), *loss), ("loss/average".to_owned(), average)];
                scalars.extend(self.names.rates(*step, *lr));
                for (name, norm) in [("grad", grad_norm), ("weight", weight_norm), ("update", update_norm)] {
                    scalars.push((format!("norm/{name}_norm"), *norm));
                }
                self.scalars(*step, scalars)
            }
            Event::MaxNorm { step, scaled } => {
                let scalars = [
                    ("keys_scaled", scaled.keys_scaled as f64),
                    ("average_key_norm", scaled.average_key_norm),
                    ("max_key_norm", scaled.max_key_norm),
                ];
                let named = scalars.map(|(name, value)| (format!("max_norm/{name}"), value));
                self.scalars(*step, named.to_vec())
            }
            Event::Norms { step, weights, updates } => {
                let named =
                    |what: &'static str| move |(kind, norm): (&String, &f64)| (format!("norm/{what}/{kind}"), *norm);
                let weights = weights.iter().map(named("weights"));
                self.scalars(*step, weights.chain(updates.iter().map(named("updates"))).collect())
            }
            Event::Validation { step, set, loss } => {
                let name = match set.as_str() {
                    HELD_OUT => "loss/validation/step_average".to_owned(),
                    other => format!("loss/validation/{other}"),
                };
                self.scalars(*step, vec![(name, *loss)])
            }
            Event::Wrote { file } if file.starts_with("samples/") => {
                let path = out.join(file);
                let png = fs::read(&path).map_err(TrainError::io(&path))?;
                let size = image::ImageReader::with_format(std::io::Cursor::new(&png), image::ImageFormat::Png);
                let (width, height) = size
                    .into_dimensions()
                    .map_err(|e| TrainError::Setting(format!("`{file}` is no picture: {e}")))?;
                let image = Image {
                    height: height as i32,
                    width: width as i32,
                    colorspace: 3,
                    encoded_image_string: png,
                };
                let value = Value {
                    tag: "samples".to_owned(),
                    simple_value: None,
                    image: Some(image),
                };
                self.put(self.step, None, vec![value])
            }
            _ => Ok(()),
        }
    }

    fn scalars(&mut self, step: u64, scalars: Vec<(String, f64)>) -> Result<(), TrainError> {
        let value = |(tag, value)| Value {
            tag,
            simple_value: Some(value as f32),
            image: None,
        };
        self.put(step, None, scalars.into_iter().map(value).collect())
    }

    fn put(&mut self, step: u64, version: Option<&str>, value: Vec<Value>) -> Result<(), TrainError> {
        let record = Record {
            wall_time: (self.clock)().as_nanosecond() as f64 / 1e9,
            step: step as i64,
            file_version: version.map(str::to_owned),
            summary: version.is_none().then_some(Summary { value }),
        };
        self.file
            .write_all(&framed(&record))
            .map_err(TrainError::io(&self.path))
    }
}

impl Names {
    /// The learning rates of an update: with Prodigy those of the course, and what is used in the end.
    fn rates(&self, step: u64, used: f64) -> Vec<(String, f64)> {
        let mut rates = Vec::new();
        let mut put = |part: &str, factor: f64| match &self.course {
            None => rates.push((format!("lr/{part}"), used * factor)),
            Some(course) => {
                let planned = course.peak * course.factor(step.saturating_sub(1));
                rates.push((format!("lr/{part}"), planned * factor));
                rates.push((format!("lr/d*lr/{part}"), used * factor));
            }
        };
        if let Some(factor) = self.text {
            put("textencoder", factor);
        }
        put("unet", 1.0);
        rates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that TensorFlow's own writer gives for the first event of a file.
    #[test]
    fn the_first_event_is_framed_as_tensorflow_frames_it() {
        let record = Record {
            wall_time: 1.0,
            step: 0,
            file_version: Some("brain.Event:2".to_owned()),
            summary: None,
        };
        let bytes = framed(&record);
        // 9 bytes of time, 2 of the version's tag and length, 13 of the version; a step of zero is left out.
        assert_eq!(bytes[..8], 24u64.to_le_bytes());
        assert_eq!(bytes.len(), 24 + 16);
        // The checksum of these eight bytes, as any event file begins with a first event of this length.
        assert_eq!(bytes[8..12], [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_run_has_a_folder_of_its_own() {
        let at = "2026-11-22T12:30:05Z".parse().unwrap();
        let expected = Path::new("logs/a-20261122123005/network_train");
        assert_eq!(folder(Path::new("logs"), "a-", at), expected);
    }
}
