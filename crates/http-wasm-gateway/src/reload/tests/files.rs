//! Reloads with files that are slow to read.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use super::{Served, one_guest};

const CERTIFICATE: &[u8] = include_bytes!("../../../tests/fixtures/localhost.pem");
const KEY: &[u8] = include_bytes!("../../../tests/fixtures/localhost.key.pem");

/// What has happened with the reads of a file.
#[derive(Debug, Default)]
struct Reads {
    stopped: AtomicBool,
    count: AtomicUsize,
    held_up: AtomicBool,
}

/// Serves a file's content to each reader once the runtime's thread has responded: while a reader waits, something else
/// must run there.
fn serve(fifo: &Path, responds: UnboundedSender<mpsc::Sender<()>>) -> Arc<Reads> {
    assert!(Command::new("mkfifo").arg(fifo).status().expect("mkfifo runs").success());
    let (reads, fifo) = (Arc::new(Reads::default()), fifo.to_owned());
    let counted = reads.clone();
    std::thread::spawn(move || {
        // This opens as soon as there is a reader.
        while let Ok(mut file) = OpenOptions::new().write(true).open(&fifo) {
            if reads.stopped.load(Ordering::Relaxed) {
                return;
            }
            let (response, received) = mpsc::channel();
            let _ = responds.send(response);
            if received.recv_timeout(Duration::from_secs(20)).is_err() {
                reads.held_up.store(true, Ordering::Relaxed);
            }
            reads.count.fetch_add(1, Ordering::Relaxed);
            let _ = file.write_all(CERTIFICATE);
            drop(file);
            // The reader only sees the end while the file isn't open for writing.
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    counted
}

/// The runtime has a single thread.
#[tokio::test]
async fn a_reload_waiting_for_files_blocks_nothing_else() {
    let served = Served::start(&one_guest("1")).await;
    let path = |name: &str| served.directory.path().join(name);
    std::fs::write(path("key.pem"), KEY).unwrap();
    let (responds, mut asked) = tokio::sync::mpsc::unbounded_channel::<mpsc::Sender<()>>();
    let files = ["ca.pem", "certificate.pem"].map(|name| (path(name), serve(&path(name), responds.clone())));
    tokio::spawn(async move {
        while let Some(response) = asked.recv().await {
            let _ = response.send(());
        }
    });
    let summary = served
        .reload(
            "[[listen]]\naddress = '127.0.0.1:0'\n\
             tls.certificates = [{ certificate = 'certificate.pem', key = 'key.pem' }]\n\
             [upstreams.u]\naddresses = ['https://localhost']\ntls.ca = 'ca.pem'\n[[routes]]\nupstream = 'u'\n",
        )
        .await;
    assert_eq!((summary.opened, summary.closed), (0, 0), "the socket stays");
    for (path, reads) in files {
        // Lets the thread end.
        reads.stopped.store(true, Ordering::Relaxed);
        let _ = File::open(path);
        assert!(reads.count.load(Ordering::Relaxed) > 0, "it is read");
        assert!(!reads.held_up.load(Ordering::Relaxed), "a read held up the runtime");
    }
}
