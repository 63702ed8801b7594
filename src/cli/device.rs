//! `--device`, and Ctrl-C.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Result, bail};
use burn::tensor::Device;

use super::error::HintExt;

/// Where to compute.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DeviceArgs {
    /// Where to compute: auto, cpu, cuda:0, vulkan:0 (GPUs where the program was built for them)
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,
}

impl DeviceArgs {
    /// What it is called in a run's record: its kind, `flex` for the CPU.
    pub fn name(&self) -> String {
        let kind = self.device.split(':').next().unwrap_or("auto");
        let auto = if cfg!(feature = "cuda") {
            "cuda"
        } else if cfg!(feature = "vulkan") {
            "vulkan"
        } else {
            "flex"
        };
        match kind {
            "auto" => auto,
            "cpu" => "flex",
            other => other,
        }
        .to_owned()
    }

    /// The device; `auto` is a GPU where the program was built for one.
    pub fn get(&self) -> Result<Device> {
        let (kind, index) = self.device.split_once(':').unwrap_or((&self.device, "0"));
        let Ok(index) = index.parse::<usize>() else {
            bail!("--device: expected a number behind `{kind}:`, found `{index}`");
        };
        match kind {
            "auto" => Ok(auto()),
            "cpu" => Ok(Device::flex()),
            #[cfg(feature = "cuda")]
            "cuda" => Ok(Device::cuda(index)),
            #[cfg(feature = "vulkan")]
            "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::DiscreteGpu(index))),
            #[cfg(not(feature = "cuda"))]
            "cuda" => Err(missing("cuda", index)).hint("build with `cargo build --release --features cuda`"),
            #[cfg(not(feature = "vulkan"))]
            "vulkan" => Err(missing("vulkan", index)).hint("build with `cargo build --release --features vulkan`"),
            _ => bail!(
                "--device: expected auto, cpu, cuda:N or vulkan:N, found `{}`",
                self.device
            ),
        }
    }
}

#[cfg(not(all(feature = "cuda", feature = "vulkan")))]
fn missing(kind: &str, index: usize) -> anyhow::Error {
    anyhow::anyhow!("this program was built without {kind}, so there is no device `{kind}:{index}`")
}

#[cfg(feature = "cuda")]
fn auto() -> Device {
    Device::cuda(0)
}

#[cfg(all(feature = "vulkan", not(feature = "cuda")))]
fn auto() -> Device {
    Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)
}

#[cfg(not(any(feature = "cuda", feature = "vulkan")))]
fn auto() -> Device {
    Device::flex()
}

/// A flag that Ctrl-C sets; the second Ctrl-C ends the process at once.
pub fn stop_flag() -> Result<Arc<AtomicBool>> {
    // The handler can be set once; a command that trains several times asks for it each time.
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(flag.clone());
    }
    let flag = Arc::new(AtomicBool::new(false));
    let set = flag.clone();
    ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        eprintln!("\nsaving after this step; Ctrl-C again ends at once");
    })?;
    Ok(FLAG.get_or_init(|| flag).clone())
}
