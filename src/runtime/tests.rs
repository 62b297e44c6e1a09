//! The runtime on real cores. What must also hold in the simulator is tested there with the same bodies.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::fs::{self, BLOCK, File, IoBuf, OpenMode};
use super::*;

/// Runs `body` on one glommio core.
fn on_a_core<F: Future<Output = ()> + 'static>(body: impl Fn() -> F + Clone + Send + 'static) {
    let config = RuntimeConfig { spin: Duration::ZERO, ..RuntimeConfig::on_cpus(vec![host::cpus()[0]]) };
    let outcomes = start(&config, move |_| body()).expect("the core starts").join();
    assert_eq!(outcomes, vec![Ok(())]);
}

#[test]
fn joined_tasks_end_with_a_result_a_panic_or_a_cancellation() {
    on_a_core(|| async {
        let ran = Rc::new(Cell::new(false));
        let inner = Rc::clone(&ran);
        let handle = spawn_joinable(QueueClass::Background, async move {
            inner.set(true);
            7
        });
        assert!(!ran.get(), "a task is not polled inside spawn");
        assert_eq!(handle.await, Ok(7));

        let before = panics_caught();
        let handle = spawn_joinable(QueueClass::Interactive, async { panic!("on purpose") });
        let outcome: Result<(), JoinError> = handle.await;
        assert_eq!(outcome, Err(JoinError::Panicked("on purpose".to_owned())));
        assert!(panics_caught() > before);

        let held = Rc::new(());
        let inside = Rc::clone(&held);
        let handle = spawn_joinable(QueueClass::Log, async move {
            let _inside = inside;
            std::future::pending::<()>().await;
        });
        yield_now().await;
        assert_eq!(Rc::strong_count(&held), 2);
        handle.cancel();
        assert_eq!(handle.await, Err(JoinError::Cancelled));
        assert_eq!(Rc::strong_count(&held), 1, "a cancelled task's future is dropped before its handle is ready");
    });
}

#[test]
fn sleeps_end_in_order_of_their_deadlines_and_timeouts_drop_what_is_late() {
    on_a_core(|| async {
        let begin = now();
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        let handles: Vec<_> = [30u64, 10, 20, 0]
            .into_iter()
            .map(|millis| {
                let order = Rc::clone(&order);
                spawn_joinable(QueueClass::Interactive, async move {
                    sleep(Duration::from_millis(millis)).await;
                    order.borrow_mut().push(millis);
                })
            })
            .collect();
        for handle in handles {
            handle.await.expect("sleeping does not panic");
        }
        assert_eq!(*order.borrow(), [0, 10, 20, 30]);
        assert!(begin.elapsed() >= Duration::from_millis(30));
        assert_eq!(timeout(Duration::from_millis(5), std::future::pending::<()>()).await, Err(Elapsed));
        assert_eq!(timeout(Duration::from_secs(60), async { 1 }).await, Ok(1));
    });
}

#[test]
fn a_yielding_loop_lets_timers_fire() {
    on_a_core(|| async {
        let stop = Rc::new(Cell::new(false));
        let stopped = Rc::clone(&stop);
        spawn(QueueClass::Interactive, async move {
            sleep(Duration::from_millis(20)).await;
            stopped.set(true);
        });
        let begin = now();
        while !stop.get() {
            if should_yield() {
                yield_now().await;
            }
        }
        assert!(begin.elapsed() < Duration::from_secs(5), "a yield passes the reactor: {:?}", begin.elapsed());
    });
}

#[test]
fn an_idle_core_is_told_so_and_a_busy_one_after_the_patience() {
    on_a_core(|| async {
        // Nothing else is ready, and nothing would ever wake this core before the patience is over.
        let begin = now();
        until_idle(Duration::from_secs(3600)).await;
        assert!(begin.elapsed() < Duration::from_secs(60), "the core was idle: {:?}", begin.elapsed());

        let patience = Duration::from_millis(20);
        let (busy, waits) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(false)));
        let (still_busy, still_waits) = (Rc::clone(&busy), Rc::clone(&waits));
        let other = spawn_joinable(QueueClass::Interactive, async move {
            let mut turns_beside_it = 0u64;
            while still_busy.get() {
                turns_beside_it += u64::from(still_waits.get());
                give_way().await;
            }
            turns_beside_it
        });
        let begin = now();
        waits.set(true);
        until_idle(patience).await;
        waits.set(false);
        assert!(begin.elapsed() >= patience, "this core was never idle: {:?}", begin.elapsed());
        busy.set(false);
        assert!(other.await.expect("it ends") > 0, "the core goes on while one waits for its idleness");
    });
}

#[test]
fn files_hold_what_is_written_to_them() {
    on_a_core(|| async {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let path = directory.path().join("log");
        let file = File::open(&path, OpenMode::CREATE).await.expect("create");
        file.preallocate_zeroed(4 * BLOCK as u64).await.expect("preallocate");
        assert_eq!(file.len().await.expect("len"), 4 * BLOCK as u64);
        let mut buffer = IoBuf::padded(b"hello");
        file.write_at(&buffer, BLOCK as u64).await.expect("write");
        buffer.as_mut_slice()[0] = b'j';
        file.write_at(&buffer, 2 * BLOCK as u64).await.expect("write");
        file.sync_data().await.expect("sync");
        for (position, len, expected) in [
            (BLOCK as u64, 5, &b"hello"[..]),
            (2 * BLOCK as u64 + 1, 4, b"ello"),
            (BLOCK as u64 - 1, 3, b"\0he"),
            (4 * BLOCK as u64 - 2, 100, b"\0\0"),
            (9 * BLOCK as u64, 10, b""),
        ] {
            assert_eq!(file.read_at(position, len).await.expect("read"), expected, "{len} bytes at {position}");
        }
        file.truncate(BLOCK as u64 + 3).await.expect("truncate");
        file.sync_data().await.expect("sync");
        assert_eq!(file.read_at(BLOCK as u64 - 1, 100).await.expect("read"), b"\0hel");
    });
}

#[test]
fn directories_list_rename_and_remove() {
    on_a_core(|| async {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let root = directory.path().join("a/b");
        fs::create_dir_all(&root).await.expect("create directories");
        fs::create_dir_all(&root).await.expect("again");
        fs::write_file_atomically(root.join("manifest"), b"one").await.expect("write");
        fs::write_file_atomically(root.join("manifest"), b"two").await.expect("replace");
        assert_eq!(fs::read_small_file(root.join("manifest"), 100).await.expect("read"), b"two");
        assert!(fs::read_small_file(root.join("manifest"), 2).await.is_err(), "larger than allowed");
        fs::rename(root.join("manifest"), root.join("other")).await.expect("rename");
        fs::sync_dir(&root).await.expect("sync");
        assert_eq!(fs::list_dir(&root).await.expect("list"), ["other"]);
        assert!(fs::exists(root.join("other")).await.expect("exists"));
        fs::remove(root.join("other")).await.expect("remove");
        assert!(!fs::exists(root.join("other")).await.expect("exists"));
        let missing = File::open(root.join("other"), OpenMode::READ).await.expect_err("it is gone");
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn a_connection_moves_between_cores_without_losing_a_byte() {
    let (to_second, from_first) = std::sync::mpsc::channel::<(net::Socket, Vec<u8>)>();
    let (to_second, from_first) = (std::sync::Mutex::new(Some(to_second)), std::sync::Mutex::new(Some(from_first)));
    let shared = std::sync::Arc::new((to_second, from_first));
    let cpu = host::cpus()[0];
    let config = RuntimeConfig::on_cpus(vec![cpu, cpu]);
    let main = move |core: crate::base::CoreId| {
        let shared = std::sync::Arc::clone(&shared);
        async move {
            if core.0 == 0 {
                let sender = shared.0.lock().expect("not poisoned").take().expect("one first core");
                let listener = net::Listener::bind_tcp("127.0.0.1:0".parse().expect("an address")).expect("bind");
                let address = listener.local_address().expect("bound").expect("TCP");
                let client = spawn_joinable(QueueClass::Interactive, async move {
                    let mut stream = net::Stream::connect(address).await.expect("connect");
                    stream.write_all(b"first second").await.expect("write");
                    let mut answer = [0; 16];
                    let mut len = 0;
                    while len < 4 {
                        len += stream.read(&mut answer[len..]).await.expect("read");
                    }
                    assert_eq!(&answer[..len], b"done");
                });
                let mut stream = net::Stream::from_socket(listener.accept().await.expect("accept")).expect("register");
                let mut word = [0; 6];
                let mut len = 0;
                while len < 6 {
                    len += stream.read(&mut word[len..]).await.expect("read");
                }
                assert_eq!(&word, b"first ");
                sender.send(stream.into_socket().await.expect("a sound connection")).expect("the second core listens");
                client.await.expect("the client is content");
            } else {
                let receiver = shared.1.lock().expect("not poisoned").take().expect("one second core");
                let (socket, mut word) = run_blocking(move || receiver.recv().expect("the first core sends")).await;
                let mut stream = net::Stream::from_socket(socket).expect("register");
                let mut buffer = [0; 4];
                while word.len() < 6 {
                    let len = stream.read(&mut buffer).await.expect("read");
                    word.extend_from_slice(&buffer[..len]);
                }
                assert_eq!(word, b"second");
                stream.write_all(b"done").await.expect("write");
                stream.flush().await.expect("sent");
            }
        }
    };
    let outcomes = start(&config, main).expect("the cores start").join();
    assert_eq!(outcomes, vec![Ok(()), Ok(())]);
}
