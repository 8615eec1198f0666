//! A cache of compiled code on disk, which is kept from one process to the next.
//!
//! There is one file per module, named by a hash of everything that the code depends on: the module's bytes, and the
//! version and settings of the compiler, including the machine's features. An entry is loaded only if its checksum is
//! correct: compiled code runs without further checks, so a flipped bit could crash the process or worse. The checksum
//! protects against damage, but not against those who can write to the directory, so they must be trusted.

use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use super::directory::{Directory, foreign};

/// The first bytes of an entry. They change with the layout of entries.
const MAGIC: &[u8; 16] = b"http-wasm code 1";

const CHECKSUM: usize = 32;

const EXTENSION: &str = "code";

/// The prefix of the file names of entries that are being written.
const UNFINISHED: &str = "tmp";

/// After this time, an unfinished entry is assumed to be left over from a process that has died.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Maximum total size of all entries in bytes; above it, the least recently used ones are removed.
const LIMIT: u64 = 1 << 30;

/// Identifies an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// The key of the code that `engine` compiles `wasm` to.
    pub(super) fn new(engine: &Engine, wasm: &[u8]) -> Self {
        let mut hash = ShaHasher(Sha256::new());
        // Version, target, features of the machine, and compiler settings.
        engine.precompile_compatibility_hash().hash(&mut hash);
        hash.0.update(Sha256::digest(wasm));
        Self(hash.0.finalize().into())
    }
}

/// A directory with compiled code.
#[derive(Debug)]
pub(super) struct CodeCache {
    directory: Directory,
    limit: u64,
    discarded: AtomicU64,
}

impl CodeCache {
    /// Uses `directory`. If it doesn't exist, it is created with access only for this user.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        let directory = Directory::open(directory)?;
        if let Some(why) = directory.foreign() {
            let directory = directory.path().display();
            tracing::warn!(
                "the code cache {directory} {why}, and anyone who can write to it can run code in this \
                 process: make it writable only by the user that runs it"
            );
        }
        Ok(Self::of(directory))
    }

    /// Like [`open`](Self::open), for a directory that is used only if no other user can write to it.
    ///
    /// # Errors
    /// The reason why it can't be used.
    pub(super) fn open_private(directory: PathBuf) -> Result<Self, String> {
        Directory::open_private(directory).map(Self::of)
    }

    fn of(directory: Directory) -> Self {
        Self { directory, limit: LIMIT, discarded: AtomicU64::new(0) }
    }

    /// The number of damaged entries that have been discarded.
    pub(super) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Relaxed)
    }

    /// Returns the code under `key`, if there is an intact entry.
    pub(super) fn get(&self, key: Key) -> Option<Vec<u8>> {
        let name = name(key);
        match self.read(&name, key) {
            Ok(Ok(code)) => Some(code),
            Ok(Err(why)) => {
                self.discarded.fetch_add(1, Ordering::Relaxed);
                let path = self.directory.path().join(&name);
                let path = path.display();
                tracing::warn!("code cache entry {path} {why}: discarding it and compiling the module again");
                // If it can't be removed, the entry is replaced, or found damaged again.
                let _removed = self.directory.remove(&name);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let path = self.directory.path().join(&name);
                tracing::warn!("cannot read code cache entry {}: {error}", path.display());
                None
            }
        }
    }

    /// The entry's code, or why it can't be used.
    fn read(&self, name: &Path, key: Key) -> io::Result<Result<Vec<u8>, &'static str>> {
        let mut file = self.directory.read(name)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(Err("is not a file"));
        }
        if let Some(why) = foreign(&file)? {
            return Ok(Err(why));
        }
        if metadata.len() > self.limit {
            return Ok(Err("is too large"));
        }
        let mut entry = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        file.read_to_end(&mut entry)?;
        let Some(checksum) = entry.get(..MAGIC.len() + CHECKSUM).and_then(|head| head.strip_prefix(MAGIC))
        else {
            return Ok(Err("is damaged"));
        };
        if checksum != checksum_of(key, &entry[MAGIC.len() + CHECKSUM..]) {
            return Ok(Err("is damaged"));
        }
        // This ensures that entries in use are removed last. If it fails, this entry may be removed earlier.
        let _marked = file.set_modified(SystemTime::now());
        entry.drain(..MAGIC.len() + CHECKSUM);
        Ok(Ok(entry))
    }

    /// Stores `code` under `key`. If that fails, the module is compiled again next time.
    pub(super) fn put(&self, key: Key, code: &[u8]) {
        if let Err(error) = self.write(key, code) {
            let directory = self.directory.path().display();
            tracing::warn!("cannot write to the code cache {directory}: {error}");
        }
    }

    /// Writes a new file and renames it into place, so that no reader finds an incomplete entry.
    fn write(&self, key: Key, code: &[u8]) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let unfinished = PathBuf::from(format!("{}-{count}.{UNFINISHED}", std::process::id()));
        // A process with the same ID may have left one behind.
        let _removed = self.directory.remove(&unfinished);
        let write = |mut file: File| {
            file.write_all(MAGIC)?;
            file.write_all(&checksum_of(key, code))?;
            file.write_all(code)
        };
        let written = self.directory.create(&unfinished).and_then(write);
        let placed = written.and_then(|()| self.directory.rename(&unfinished, &name(key)));
        if placed.is_err() {
            let _removed = self.directory.remove(&unfinished);
        }
        placed?;
        self.shrink(key)
    }

    /// Removes the least recently used entries until the others, of which `newest` is one, fit the limit, and
    /// unfinished ones that are no longer being written.
    fn shrink(&self, newest: Key) -> io::Result<()> {
        let (newest, now) = (name(newest), SystemTime::now());
        let (mut entries, mut total) = (Vec::new(), 0_u64);
        for entry in self.directory.entries()? {
            let name = Path::new(&entry.name);
            match name.extension().and_then(|extension| extension.to_str()) {
                Some(EXTENSION) => {
                    total = total.saturating_add(entry.len);
                    entries.push(entry);
                }
                Some(UNFINISHED) if now.duration_since(entry.modified).is_ok_and(|age| age > ABANDONED) => {
                    let _removed = self.directory.remove(name);
                }
                _ => {}
            }
        }
        entries.sort_unstable();
        for entry in entries.into_iter().filter(|entry| entry.name != newest) {
            if total <= self.limit {
                break;
            }
            if self.directory.remove(Path::new(&entry.name)).is_ok() {
                total = total.saturating_sub(entry.len);
            }
        }
        Ok(())
    }
}

/// The file name of an entry.
fn name(key: Key) -> PathBuf {
    let mut name: String = key.0.iter().map(|byte| format!("{byte:02x}")).collect();
    name.extend([".", EXTENSION]);
    name.into()
}

/// The checksum of an entry. It covers the key, so that an entry is invalid under another name.
fn checksum_of(key: Key, code: &[u8]) -> [u8; CHECKSUM] {
    Sha256::new().chain_update(key.0).chain_update(code).finalize().into()
}

/// Feeds `Hash` implementations into SHA-256.
struct ShaHasher(Sha256);

impl Hasher for ShaHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Unused: the whole digest is used.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    impl CodeCache {
        fn path(&self, key: Key) -> PathBuf {
            self.directory.path().join(name(key))
        }
    }

    fn cache(directory: &Path) -> CodeCache {
        CodeCache::open(directory.into()).unwrap()
    }

    const KEY: Key = Key([1; 32]);

    #[test]
    fn an_entry_is_found_by_a_new_cache_under_its_own_key_only() {
        let dir = tempfile::tempdir().unwrap();
        cache(dir.path()).put(KEY, b"code");
        let next = cache(dir.path());
        assert_eq!(next.get(KEY).unwrap(), b"code");
        assert_eq!((next.get(Key([2; 32])), next.discarded()), (None, 0));
    }

    #[test]
    fn an_entry_with_any_bit_flipped_or_truncated_anywhere_is_discarded_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        cache.put(KEY, b"code");
        let path = cache.path(KEY);
        let good = fs::read(&path).unwrap();
        let flipped = (0..good.len() * 8).map(|bit| {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            bad
        });
        let cut = (0..good.len()).map(|len| good[..len].to_vec());
        let longer = [[&good[..], b"x"].concat()];
        let mut count = 0;
        for bad in flipped.chain(cut).chain(longer) {
            fs::write(&path, &bad).unwrap();
            count += 1;
            assert_eq!((cache.get(KEY), cache.discarded()), (None, count), "{bad:?}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn an_entry_stored_under_another_key_is_discarded() {
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        cache.put(KEY, b"code");
        let other = Key([2; 32]);
        fs::rename(cache.path(KEY), cache.path(other)).unwrap();
        assert_eq!((cache.get(other), cache.discarded()), (None, 1));
    }

    #[test]
    fn least_recently_used_entries_are_evicted_over_the_size_limit() {
        let dir = tempfile::tempdir().unwrap();
        let cache = CodeCache { limit: 500, ..cache(dir.path()) };
        let keys = [1, 2, 3, 4].map(|byte| Key([byte; 32]));
        let long_ago = SystemTime::now() - Duration::from_secs(1000);
        for (key, age) in keys.into_iter().zip([0, 10, 20, 30]) {
            if key == keys[3] {
                // Reading it makes it the most recently used.
                assert!(cache.get(keys[0]).is_some());
            }
            cache.put(key, &[0; 100]);
            let file = File::options().write(true).open(cache.path(key)).unwrap();
            file.set_modified(long_ago + Duration::from_secs(age)).unwrap();
        }
        assert_eq!(keys.map(|key| cache.path(key).exists()), [true, false, true, true]);
        cache.put(Key([5; 32]), &[0; 450]);
        assert_eq!(
            fs::read_dir(dir.path()).unwrap().count(),
            1,
            "even one that is too large by itself stays"
        );
    }

    #[test]
    fn unfinished_entries_are_removed_unless_they_are_being_written() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["old.tmp", "new.tmp", "other"].map(|name| dir.path().join(name));
        for path in &files {
            fs::write(path, "").unwrap();
        }
        let file = File::options().write(true).open(&files[0]).unwrap();
        file.set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        cache(dir.path()).put(KEY, b"code");
        assert_eq!(files.map(|path| path.exists()), [false, true, true]);
    }

    #[cfg(unix)]
    #[test]
    fn a_new_cache_and_its_entries_are_accessible_to_their_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(&dir.path().join("a/cache"));
        cache.put(KEY, b"code");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(cache.directory.path()), mode(&cache.path(KEY))), (0o700, 0o600));
    }

    #[cfg(unix)]
    #[test]
    fn an_entry_that_others_can_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let cache = cache(dir.path());
        for mode in [0o620, 0o602] {
            cache.put(KEY, b"code");
            fs::set_permissions(cache.path(KEY), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(cache.get(KEY), None);
            assert!(!cache.path(KEY).exists());
        }
        assert_eq!(cache.discarded(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_not_followed_and_renaming_the_directory_has_no_effect() {
        let dir = tempfile::tempdir().unwrap();
        let (at, elsewhere) = (dir.path().join("cache"), dir.path().join("elsewhere"));
        let cache = cache(&at);
        cache.put(KEY, b"code");
        let other = Key([2; 32]);
        std::os::unix::fs::symlink(cache.path(KEY), cache.path(other)).unwrap();
        assert_eq!(cache.get(other), None);
        fs::rename(&at, &elsewhere).unwrap();
        fs::create_dir(&at).unwrap();
        assert_eq!(cache.get(KEY).unwrap(), b"code");
        cache.put(Key([3; 32]), b"code");
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_private_cache_must_be_a_directory_owned_by_this_user_and_not_a_link() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (at, link) = (dir.path().join("a/cache"), dir.path().join("link"));
        let cache = CodeCache::open_private(at.clone()).unwrap();
        cache.put(KEY, b"code");
        assert_eq!(CodeCache::open_private(at.clone()).unwrap().get(KEY).unwrap(), b"code");
        std::os::unix::fs::symlink(&at, &link).unwrap();
        assert!(CodeCache::open_private(link).is_err());
        for mode in [0o720, 0o702] {
            fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
            let error = CodeCache::open_private(at.clone()).unwrap_err();
            assert_eq!(error, "it is writable by other users");
        }
    }

    #[test]
    fn a_key_depends_on_the_module_and_the_compiler_settings() {
        let engine = |fuel| Engine::new(wasmtime::Config::new().consume_fuel(fuel)).unwrap();
        let (plain, other) = (engine(false), engine(true));
        let key = Key::new(&plain, b"a");
        assert_eq!(key, Key::new(&engine(false), b"a"));
        assert_ne!(key, Key::new(&plain, b"b"));
        assert_ne!(key, Key::new(&other, b"a"));
    }
}
