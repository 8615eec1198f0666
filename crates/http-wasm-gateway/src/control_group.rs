//! The memory limit of the process's control groups.
//!
//! A limit may be set at any level above the process: systemd sets `MemoryMax` for the unit, container runtimes for the
//! container, and there may be slices above. The lowest one applies. Version 2 has a single hierarchy (`memory.max`,
//! and `memory.high`, above which the kernel slows down the process); version 1 has one for memory; some systems mount
//! both.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where a control group hierarchy is mounted, and its topmost visible group.
struct Hierarchy {
    version: Version,
    root: PathBuf,
    mount_point: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// Files that hold a limit.
    fn limits(self) -> &'static [&'static str] {
        match self {
            Self::One => &["memory.limit_in_bytes"],
            Self::Two => &["memory.max", "memory.high"],
        }
    }
}

/// The lowest limit of this process's group and all visible groups above it. `None` if there is no limit, or there are
/// no control groups.
pub(crate) fn memory_limit() -> Option<u64> {
    limit_under(Path::new("/"))
}

/// The same, with all files below `top`.
fn limit_under(top: &Path) -> Option<u64> {
    let groups = fs::read_to_string(top.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(top.join("proc/self/mountinfo")).ok()?;
    let hierarchies = mounts.lines().filter_map(hierarchy);
    hierarchies.filter_map(|hierarchy| hierarchy.limit(group(&groups, hierarchy.version)?, top)).min()
}

/// The process's group in a hierarchy: the line `0::PATH` for version 2, the one that names the controller `memory` for
/// version 1.
fn group(groups: &str, version: Version) -> Option<&Path> {
    groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let fits = match version {
            Version::One => controllers.split(',').any(|controller| controller == "memory"),
            Version::Two => number == "0" && controllers.is_empty(),
        };
        fits.then_some(Path::new(path))
    })
}

/// A line of `mountinfo`, if it mounts control groups that may limit memory (see proc_pid_mountinfo(5)).
fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, mount_point) = (mount.next()?, mount.next()?);
    let mut filesystem = filesystem.split(' ');
    let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
    let version = match kind {
        "cgroup2" => Version::Two,
        "cgroup" if options.split(',').any(|option| option == "memory") => Version::One,
        _ => return None,
    };
    Some(Hierarchy { version, root: unescaped(root), mount_point: unescaped(mount_point) })
}

/// Decodes a path in which the kernel has written blanks, newlines and backslashes as octal numbers.
fn unescaped(path: &str) -> PathBuf {
    let mut parts = path.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text.into()
}

impl Hierarchy {
    /// The lowest limit from the process's group up to the topmost visible one.
    fn limit(&self, group: &Path, top: &Path) -> Option<u64> {
        let mount_point = top.join(self.mount_point.strip_prefix("/").unwrap_or(&self.mount_point));
        // If a container only sees its own part of the hierarchy, that part is mounted, whatever path it reads.
        let inside = |path: &&Path| path.components().all(|part| matches!(part, Component::Normal(_)));
        let below = group.strip_prefix(&self.root).ok().filter(inside);
        let below = below.filter(|path| mount_point.join(path).is_dir());
        let own = mount_point.join(below.unwrap_or(Path::new("")));
        let levels = own.ancestors().take_while(|level| level.starts_with(&mount_point));
        let limits = levels.flat_map(|level| self.version.limits().iter().map(move |file| level.join(file)));
        limits.filter_map(|file| limit_in(&file)).chain(self.hierarchical(&own)).min()
    }

    /// In version 1, the group also reports the lowest limit of those above it that aren't visible.
    fn hierarchical(&self, own: &Path) -> Option<u64> {
        let stat = fs::read_to_string(own.join("memory.stat")).ok()?;
        let line = stat.lines().find_map(|line| line.strip_prefix("hierarchical_memory_limit "))?;
        line.trim().parse().ok()
    }
}

/// The number in a file. `None` if it is `max`.
fn limit_in(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{limit_under, unescaped};

    const MIB: u64 = 1024 * 1024;
    /// The value without a limit in version 1.
    const NONE: u64 = 9_223_372_036_854_771_712;

    /// A directory with files, removed on drop.
    struct FakeRoot(PathBuf);

    impl FakeRoot {
        fn new(name: &str, cgroup: &str, mounts: &[&str]) -> Self {
            let top = std::env::temp_dir().join(format!("http-wasm-cgroup-{}-{name}", std::process::id()));
            let fake = Self(top);
            fake.file("proc/self/cgroup", cgroup);
            fake.file("proc/self/mountinfo", &mounts.join("\n"));
            fake
        }

        fn file(&self, path: &str, text: &str) -> &Self {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().expect("it is in a directory")).unwrap();
            fs::write(path, text).unwrap();
            self
        }

        fn limit(&self) -> Option<u64> {
            limit_under(&self.0)
        }
    }

    impl Drop for FakeRoot {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
    const ROOT: &str = "23 1 8:1 / / rw - ext4 /dev/sda1 rw";

    #[test]
    fn in_cgroup_v2_the_lowest_limit_of_all_levels_applies() {
        let unit = "sys/fs/cgroup/system.slice/http-wasm.service";
        let fake = FakeRoot::new("v2", "0::/system.slice/http-wasm.service\n", &[ROOT, V2]);
        assert_eq!(fake.limit(), None);
        // As systemd sets `MemoryMax`.
        fake.file(&format!("{unit}/memory.max"), &format!("{}\n", 512 * MIB));
        assert_eq!(fake.limit(), Some(512 * MIB));
        fake.file("sys/fs/cgroup/system.slice/memory.max", &format!("{}\n", 256 * MIB));
        assert_eq!(fake.limit(), Some(256 * MIB));
        fake.file(&format!("{unit}/memory.high"), &format!("{}\n", 128 * MIB));
        assert_eq!(fake.limit(), Some(128 * MIB));
        fake.file("sys/fs/cgroup/system.slice/memory.max", "max\n");
        fake.file(&format!("{unit}/memory.high"), "max\n");
        assert_eq!(fake.limit(), Some(512 * MIB));
    }

    #[test]
    fn in_cgroup_v1_the_memory_hierarchy_applies_including_invisible_levels() {
        let mounts = [
            ROOT,
            "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755",
            "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
            "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
        ];
        let cgroup = "9:name=systemd:/\n4:memory:/a/b\n2:cpu,cpuacct:/c\n0::/\n";
        let fake = FakeRoot::new("v1", cgroup, &mounts);
        for group in ["", "/a", "/a/b"] {
            fake.file(&format!("sys/fs/cgroup/memory{group}/memory.limit_in_bytes"), &format!("{NONE}\n"));
        }
        fake.file("sys/fs/cgroup/cpu/memory.limit_in_bytes", "1\n");
        assert_eq!(fake.limit(), Some(NONE));
        fake.file("sys/fs/cgroup/memory/a/memory.limit_in_bytes", &format!("{}\n", 512 * MIB));
        assert_eq!(fake.limit(), Some(512 * MIB));
        let stat = format!("cache 0\nhierarchical_memory_limit {}\ntotal_cache 0\n", 256 * MIB);
        fake.file("sys/fs/cgroup/memory/a/b/memory.stat", &stat);
        assert_eq!(fake.limit(), Some(256 * MIB));
    }

    #[test]
    fn a_container_that_sees_only_its_own_cgroups_finds_its_limit() {
        // Version 2 with a separate namespace, and without one as seen through a bind mount.
        let fake = FakeRoot::new("namespace", "0::/\n", &[ROOT, V2]);
        fake.file("sys/fs/cgroup/memory.max", "1000000\n");
        assert_eq!(fake.limit(), Some(1_000_000));
        let bound = "30 23 0:26 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup rw";
        let fake = FakeRoot::new("bound", "0::/docker/0123\n", &[ROOT, bound]);
        fake.file("sys/fs/cgroup/memory.max", "2000000\n");
        assert_eq!(fake.limit(), Some(2_000_000));
        // Its path leads outside of what is visible.
        let fake = FakeRoot::new("outside", "0::/../../other\n", &[ROOT, V2]);
        fake.file("sys/fs/cgroup/memory.max", "3000000\n");
        assert_eq!(fake.limit(), Some(3_000_000));
        // Version 1 with the runtime's path in /proc/self/cgroup, mounted from there.
        let bound = "30 23 0:26 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory";
        let fake = FakeRoot::new("bound-1", "3:memory:/docker/0123\n", &[ROOT, bound]);
        fake.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "4000000\n");
        assert_eq!(fake.limit(), Some(4_000_000));
    }

    #[test]
    fn without_control_groups_there_is_no_limit() {
        assert_eq!(limit_under(Path::new("/nonexistent")), None);
        assert_eq!(FakeRoot::new("none", "", &[ROOT]).limit(), None);
        assert_eq!(FakeRoot::new("odd", "0:\n::\nx", &["", "a - b", "1 2 3 - cgroup2", V2]).limit(), None);
    }

    #[test]
    fn mount_points_may_contain_spaces() {
        assert_eq!(unescaped(r"/a\040b\134c"), Path::new(r"/a b\c"));
        assert_eq!(unescaped(r"/a\9"), Path::new(r"/a\9"));
    }
}
