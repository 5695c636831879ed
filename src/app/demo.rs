//! The account that `serve` creates when none is configured: plain mode, with a random token in the
//! data directory.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::random_token;
use crate::files::{create_private, create_private_directory};
use crate::wechat::{Account, Mode, Token};

pub const DEMO: &str = "demo";
const TOKEN_FILE: &str = "demo.token";

#[derive(Debug)]
pub struct Demo {
    pub account: Account,
    /// Mode 0600.
    pub token_file: PathBuf,
}

impl Demo {
    pub fn token_file(data_dir: &Path) -> PathBuf {
        data_dir.join(TOKEN_FILE)
    }

    /// Loads the account that `serve` has created.
    pub fn load(data_dir: &Path) -> anyhow::Result<Self> {
        let token_file = Self::token_file(data_dir);
        let text = fs::read_to_string(&token_file)
            .with_context(|| format!("the demo token `{}` cannot be read", token_file.display()))?;
        let token = Token::new(text.trim_end()).with_context(|| {
            format!(
                "`{}` holds no token; remove it and start again",
                token_file.display()
            )
        })?;
        Ok(Self {
            account: Account {
                name: DEMO.parse().expect("it is an account name"),
                mode: Mode::Plain,
                token,
                previous_token: None,
                original_id: None,
                keep_events: Vec::new(),
            },
            token_file,
        })
    }

    pub fn load_or_make(data_dir: &Path) -> anyhow::Result<Self> {
        let token_file = Self::token_file(data_dir);
        make_token_file(data_dir, &token_file)
            .with_context(|| format!("the demo token `{}` cannot be made", token_file.display()))?;
        Self::load(data_dir)
    }
}

/// Writes another file and links it into place, so that a half-written token is never visible.
fn make_token_file(data_dir: &Path, token_file: &Path) -> anyhow::Result<()> {
    if token_file.exists() {
        return Ok(());
    }
    create_private_directory(data_dir)?;
    let (text, _) = random_token()?;
    let aside = data_dir.join(format!("{TOKEN_FILE}.{}", std::process::id()));
    // An existing file is not ours; it may be a symbolic link. `create_new` does not follow links.
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = create_private(&aside)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&aside, token_file);
    fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_token_is_made_once_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("data");
        assert!(Demo::load(&data_dir).is_err());
        let made = Demo::load_or_make(&data_dir).unwrap();
        let text = fs::read_to_string(&made.token_file).unwrap();
        assert_eq!(text.trim_end().len(), 32);
        Demo::load_or_make(&data_dir).unwrap();
        assert_eq!(fs::read_to_string(&made.token_file).unwrap(), text);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&made.token_file), 0o600);
        assert_eq!(mode(&data_dir), 0o700);
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_the_place_of_the_new_file_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("other");
        fs::write(&other, "precious").unwrap();
        let aside = format!("{TOKEN_FILE}.{}", std::process::id());
        std::os::unix::fs::symlink(&other, directory.path().join(aside)).unwrap();
        let made = Demo::load_or_make(directory.path()).unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
        assert!(!made.token_file.is_symlink());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
