//! Kinds of machines, which an image is for, in the words that registries have from Go: `linux/arm64/v8`.

use std::env::consts;
use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};

/// A kind of machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Its processor, as Go calls it.
    pub architecture: String,
    /// Its kernel.
    pub os: String,
    /// The kind of processor, for those with kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = anyhow::Error;

    /// OS/ARCHITECTURE[/VARIANT], with the kernel's names for processors as well.
    fn from_str(text: &str) -> Result<Platform> {
        let parts: Vec<_> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => bail!("{text:?} is not OS/ARCHITECTURE[/VARIANT]"),
        };
        ensure!(parts.iter().all(|part| !part.is_empty()), "{text:?} is not OS/ARCHITECTURE[/VARIANT]");
        Ok(Platform::new(os, architecture, variant))
    }
}

impl Platform {
    /// In Go's words, and with the kind of processor that is meant where none is named.
    fn new(os: &str, architecture: &str, variant: Option<&str>) -> Platform {
        let (architecture, usual) = match architecture {
            "x86_64" => ("amd64", None),
            "x86" => ("386", None),
            "aarch64" | "arm64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform {
            architecture: architecture.to_string(),
            os: os.to_string(),
            variant: variant.or(usual).map(str::to_string),
        }
    }
}

/// This machine, in Go's words, which are the registries'.
pub fn this_machine() -> Platform {
    Platform::new(consts::OS, consts::ARCH, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64/v8"),
            ("linux/arm/v6", "linux/arm/v6"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), shown);
        }
        for bad in ["", "linux", "linux/", "/amd64", "a/b/c/d", "a/b/"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
