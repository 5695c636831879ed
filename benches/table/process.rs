//! Measured programs: their CPU time and memory, from `/proc`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

/// Microseconds. `/proc` counts CPU time in hundredths of a second, regardless of the kernel's own
/// tick.
const TICK: f64 = 10_000.0;

/// A server whose first line has its address. It is killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let output = child.stdout.take().context("it has no standard output")?;
        let mut line = String::new();
        let read = BufReader::new(output).read_line(&mut line);
        let address = read
            .ok()
            .and_then(|_| line.trim_end().split_once(" listens on ")?.1.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the server did not start; its messages stand above");
        };
        Ok(Self { child, address })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // This cannot fail for a child that was not waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The CPU time of a process in all its threads, user and system, in microseconds.
pub(crate) fn cpu(process: u32) -> anyhow::Result<f64> {
    Ok(Stat::read(process)?.own)
}

/// The CPU time of the children that this process has waited for, in microseconds.
pub(crate) fn cpu_of_ended_children() -> anyhow::Result<f64> {
    Ok(Stat::read(std::process::id())?.ended_children)
}

/// The CPU time of a process and its children, including ended ones, in microseconds.
pub(crate) fn cpu_of_family(parent: u32) -> anyhow::Result<f64> {
    let Stat {
        own,
        ended_children,
        ..
    } = Stat::read(parent)?;
    let processes = fs::read_dir("/proc").context("cannot read /proc")?;
    let children = processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        // A child that ends meanwhile is counted by its parent.
        .filter_map(|process| Stat::read(process).ok())
        .filter(|stat| stat.parent == parent)
        .map(|stat| stat.own);
    Ok(own + ended_children + children.sum::<f64>())
}

struct Stat {
    parent: u32,
    own: f64,
    ended_children: f64,
}

impl Stat {
    fn read(process: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
        // The second field is the name in parentheses, which can contain anything.
        let (_, rest) = text
            .rsplit_once(')')
            .context("/proc/PID/stat has no name")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |index: usize| -> anyhow::Result<u32> {
            let field = fields.get(index).context("/proc/PID/stat is cut short")?;
            field.parse().context("/proc/PID/stat has another form")
        };
        Ok(Self {
            parent: number(1)?,
            own: TICK * f64::from(number(11)? + number(12)?),
            ended_children: TICK * f64::from(number(13)? + number(14)?),
        })
    }
}

/// Resident memory of a process, in MiB.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

impl Memory {
    pub(crate) fn of(process: u32) -> anyhow::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/status"))?;
        let mib = |name: &str| -> anyhow::Result<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
            Ok(kib.with_context(|| format!("/proc/PID/status has no {name}"))? / 1024.0)
        };
        Ok(Self {
            now: mib("VmRSS:")?,
            peak: mib("VmHWM:")?,
        })
    }
}
