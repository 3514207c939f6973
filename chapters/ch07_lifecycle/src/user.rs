//! Who a command is: the users and groups that the container itself knows. passwd(5), group(5), credentials(7),
//! setresuid(2), setgroups(2).
//!
//! Not asked of the C library. That looks into /etc/nsswitch.conf and loads the libraries that are named there: the
//! container's, into a process of root's that stands half outside still (CVE-2019-14271).

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read, stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use log::debug;
use nix::errno::Errno;
use nix::libc;
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, FsType, fstatfs};
use nix::unistd::{Gid, Uid, fchown, setgroups, setresgid, setresuid};

/// More than any real one has, and little enough to read: whoever writes the image could fill the disk with it.
const BIGGEST: u64 = 16 << 20;

/// Where pipe(2) makes its pipes: nobody else's files can be there.
const PIPEFS: FsType = FsType(0x5049_5045);

/// What the first chapters say of HOME, for root.
pub const HOME_OF_ROOT: &str = "HOME=/root";

/// One `-u USER[:GROUP]`, each a name or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    user: String,
    group: Option<String>,
}

/// What a name or a number stands for.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
    home: String,
    groups: Vec<u32>,
}

impl FromStr for Wanted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Wanted> {
        let (user, group) = text.split_once(':').unwrap_or((text, ""));
        ensure!(!group.contains(':'), "USER[:GROUP] has one colon");
        for part in [user, group] {
            number(part)?;
        }
        let user = if user.is_empty() { "0" } else { user };
        Ok(Wanted {
            user: user.to_string(),
            group: Some(group).filter(|g| !g.is_empty()).map(str::to_string),
        })
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.group.is_some() { ":" } else { "" };
        write!(f, "{}{colon}{}", self.user, self.group.as_deref().unwrap_or_default())
    }
}

/// `None` for a name. The numbers go as far as Docker's; above, the kernel has some that mean nobody.
fn number(text: &str) -> Result<Option<u32>> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let number = text.parse().ok().filter(|number| *number <= i32::MAX as u32);
    number.map(Some).with_context(|| format!("{text}: numbers of users and groups end at {}", i32::MAX))
}

impl Wanted {
    /// Becomes this user, for good. Call it inside the container's root. Returns the user's home directory.
    pub fn become_it(&self) -> Result<String> {
        let account = self.look_up(&read("/etc/passwd")?, &read("/etc/group")?)?;
        give_streams(Uid::from_raw(account.uid))?;
        let groups: Vec<_> = account.groups.iter().copied().map(Gid::from_raw).collect();
        let (gid, uid) = (Gid::from_raw(account.gid), Uid::from_raw(account.uid));
        // The user last: afterwards we may not do the others any more.
        debug!("setgroups({:?})", account.groups);
        setgroups(&groups).context("setting the user's other groups")?;
        debug!("setresgid({gid}, {gid}, {gid})");
        setresgid(gid, gid, gid).with_context(|| format!("becoming group {gid}"))?;
        debug!("setresuid({uid}, {uid}, {uid})");
        setresuid(uid, uid, uid).with_context(|| format!("becoming user {uid}"))?;
        Ok(account.home)
    }

    /// As Docker has it: a number needs no entry, and is then of group 0; a group that is asked for is the only one.
    fn look_up(&self, passwd: &str, group: &str) -> Result<Account> {
        let wanted = number(&self.user)?;
        let entry = passwd.lines().filter_map(User::of_line).find(|user| match wanted {
            Some(number) => user.uid == number,
            None => user.name == self.user,
        });
        let uid = entry.as_ref().map(|user| user.uid).or(wanted);
        let uid = uid.with_context(|| format!("the container's /etc/passwd has no user {:?}", self.user))?;
        let home = entry.as_ref().map(|user| user.home).filter(|home| !home.is_empty()).unwrap_or("/");
        let all = || group.lines().filter_map(Group::of_line);
        let (gid, others) = match &self.group {
            Some(wanted) => (find_group(wanted, all())?, Vec::new()),
            None => {
                let name = entry.as_ref().map(|user| user.name);
                let others = all().filter(|group| group.members.split(',').any(|one| Some(one) == name));
                (entry.as_ref().map_or(0, |user| user.gid), others.map(|group| group.gid).collect())
            }
        };
        // The group itself stands among the others too. Else a program that gives up all that is in that list could
        // get more than before, where a file shuts out just this group.
        let mut groups = vec![gid];
        groups.extend(others.into_iter().filter(|other| *other != gid));
        Ok(Account { uid, gid, home: home.to_string(), groups })
    }
}

fn find_group<'a>(wanted: &str, mut all: impl Iterator<Item = Group<'a>>) -> Result<u32> {
    match number(wanted)? {
        Some(number) => Ok(number),
        None => all
            .find(|group| group.name == wanted)
            .map(|group| group.gid)
            .with_context(|| format!("the container's /etc/group has no group {wanted:?}")),
    }
}

/// One line of /etc/passwd: `name:password:uid:gid:comment:home:shell`.
struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl User<'_> {
    /// `None` for what is no such line.
    fn of_line(line: &str) -> Option<User<'_>> {
        let mut fields = line.trim().split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let home = fields.nth(1).unwrap_or_default();
        Some(User { name, uid: number(uid).ok()??, gid: number(gid).ok()??, home })
    }
}

/// One line of /etc/group: `name:password:gid:member,member`.
struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Group<'_> {
    /// `None` for what is no such line.
    fn of_line(line: &str) -> Option<Group<'_>> {
        let mut fields = line.trim().split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name, gid: number(gid).ok()??, members: fields.next().unwrap_or_default() })
    }
}

/// A file of the container's. Empty if there is none. Its owner may have put anything there, so this neither waits for a
/// FIFO's other side (O_NONBLOCK) nor reads what has no end.
fn read(path: &str) -> Result<String> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(String::new());
        }
        file => file.with_context(|| format!("opening {path}"))?,
    };
    let data = file.metadata().with_context(|| format!("looking at {path}"))?;
    ensure!(data.is_file(), "{path} in the container is no file");
    let mut bytes = Vec::new();
    file.take(BIGGEST + 1).read_to_end(&mut bytes).with_context(|| format!("reading {path}"))?;
    ensure!(bytes.len() as u64 <= BIGGEST, "{path} in the container is bigger than {} MiB", BIGGEST >> 20);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Gives the user those of stdin, stdout and stderr that we have made, so that `echo > /dev/stdout` may open them once
/// more: pipes, and the container's terminal. Files are the caller's, and stay as they are.
fn give_streams(user: Uid) -> Result<()> {
    let (stdin, stdout, stderr) = (stdin(), stdout(), stderr());
    let streams: [(&str, BorrowedFd<'_>); 3] =
        [("stdin", stdin.as_fd()), ("stdout", stdout.as_fd()), ("stderr", stderr.as_fd())];
    for (name, stream) in streams {
        let filesystem = fstatfs(stream).with_context(|| format!("looking at {name}"))?.filesystem_type();
        if [PIPEFS, DEVPTS_SUPER_MAGIC].contains(&filesystem) {
            debug!("fchown({name}, {user}, -1)");
            match fchown(stream, Some(user), None) {
                // A pipe or a terminal of somebody who has locked it: the command has it open all the same.
                Err(Errno::EPERM | Errno::EROFS) => {}
                given => given.with_context(|| format!("giving {name} to user {user}"))?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\nbad:x:no:1\nanna:x:1000:100::/home/anna:/bin/sh\n\
        no-home:x:7:8\n";
    const GROUP: &str = "root:x:0:\nusers:x:100:\naudio:x:29:bert,anna\nvideo:x:44:anna\nbad:x:-1:anna\n";

    fn look_up(text: &str) -> Result<(u32, u32, String, Vec<u32>)> {
        let account = text.parse::<Wanted>()?.look_up(PASSWD, GROUP)?;
        Ok((account.uid, account.gid, account.home, account.groups))
    }

    #[test]
    fn who_is_who() {
        let anna = |gid, groups| (1000, gid, "/home/anna".to_string(), groups);
        assert_eq!(look_up("anna").unwrap(), anna(100, vec![100, 29, 44]));
        assert_eq!(look_up("1000").unwrap(), anna(100, vec![100, 29, 44]));
        assert_eq!(look_up("anna:video").unwrap(), anna(44, vec![44]));
        assert_eq!(look_up("anna:5").unwrap(), anna(5, vec![5]));
        assert_eq!(look_up("anna:").unwrap(), look_up("anna").unwrap());
        assert_eq!(look_up("1234").unwrap(), (1234, 0, "/".to_string(), vec![0]));
        assert_eq!(look_up("7").unwrap(), (7, 8, "/".to_string(), vec![8]));
        assert_eq!(look_up("").unwrap(), (0, 0, "/root".to_string(), vec![0]));
        for bad in ["nobody", "bad", "anna:nosuch", "a:b:c", "4294967295", "0:4294967295", "99999999999"] {
            assert!(look_up(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shown_as_it_was_typed() {
        for text in ["anna", "1000:100", "anna:video"] {
            assert_eq!(text.parse::<Wanted>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [fifo.to_str().unwrap(), "/dev/zero", "/proc"] {
            assert!(read(path).is_err(), "{path}");
        }
        assert_eq!(read("/etc/passwd/x").unwrap(), "");
    }
}
