//! Clients that are slow on purpose, many of them at once: what a gateway holds for each is its memory.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Barrier;
use tokio::time::{MissedTickBehavior, interval};

use crate::load::{Client, Method};
use crate::size::{GIB, KIB, MIB, Size};

/// How a client is slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Habit {
    /// Asks for 1 GiB and reads nothing
    GetStalled,
    /// Asks for 1 GiB, reads 8 MiB as fast as it can, then nothing
    GetStalledLate,
    /// Asks for 1 GiB, reads 8 MiB as fast as it can, then 1 KiB a second
    GetTrickle,
    /// Sends 1 GiB at 1 KiB a second
    PutTrickle,
    /// Sends 8 MiB as fast as it can, then 1 KiB a second
    PutTrickleLate,
    /// Sends 1 GiB as fast as it can to an upstream that takes nothing
    PutStalledUpstream,
}

impl Habit {
    pub(crate) fn says(self) -> &'static str {
        match self {
            Self::GetStalled => "GET, reads nothing",
            Self::GetStalledLate => "GET, reads 8 MiB, then nothing",
            Self::GetTrickle => "GET, reads 8 MiB, then 1 KiB/s",
            Self::PutTrickle => "PUT at 1 KiB/s",
            Self::PutTrickleLate => "PUT, 8 MiB fast, then 1 KiB/s",
            Self::PutStalledUpstream => "PUT fast, the upstream takes nothing",
        }
    }
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    habit: Habit,
    #[arg(long)]
    clients: usize,
}

/// Says `ready` once every client is slow, and goes on until its standard input closes.
pub(crate) fn run(arguments: &Arguments) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let slow = Arc::new(Barrier::new(arguments.clients + 1));
    for number in 0..arguments.clients {
        let (to, habit, slow) = (arguments.to, arguments.habit, slow.clone());
        runtime.spawn(async move {
            if let Err(error) = be(habit, to, number, &slow).await {
                println!("client {number}: {error}");
            }
        });
    }
    std::thread::spawn(|| {
        io::copy(&mut io::stdin(), &mut io::sink()).ok();
        std::process::exit(0);
    });
    runtime.block_on(async {
        slow.wait().await;
        println!("ready");
        io::stdout().flush().expect("standard output");
        std::future::pending::<()>().await;
    });
    Ok(())
}

async fn be(habit: Habit, to: SocketAddr, number: usize, slow: &Barrier) -> io::Result<()> {
    let (method, name) = match habit {
        Habit::GetStalled | Habit::GetStalledLate | Habit::GetTrickle => (Method::Get, GIB.to_string()),
        Habit::PutTrickle | Habit::PutTrickleLate => (Method::Put, GIB.to_string()),
        Habit::PutStalledUpstream => (Method::Put, format!("stall-{GIB}")),
    };
    // Not all at the same instant: a thousand clients never are.
    tokio::time::sleep(Duration::from_millis(2 * number as u64)).await;
    let mut client = Client::connect(to, method, &format!("slow/{number}/{name}"), GIB).await?;
    // What the kernel holds for us is not the gateway's memory, and a thousand of them is too much of it.
    socket2::SockRef::from(&client.stream).set_recv_buffer_size(32 * 1024)?;
    client.send_head().await?;
    let stream = &mut client.stream;
    let mut buffer = vec![0; 64 * 1024];
    match habit {
        Habit::GetStalled | Habit::PutTrickle => {}
        Habit::GetStalledLate | Habit::GetTrickle => {
            let mut left = Size(8 * MIB.0).0;
            while left > 0 {
                let read = stream.read(&mut buffer).await?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left = left.saturating_sub(read as u64);
            }
        }
        Habit::PutTrickleLate => {
            for _ in 0..8 * MIB.0 / buffer.len() as u64 {
                stream.write_all(&buffer).await?;
            }
        }
        Habit::PutStalledUpstream => {
            // Full when nothing goes any more for a while.
            while let Ok(sent) = tokio::time::timeout(Duration::from_secs(1), stream.write(&buffer)).await {
                sent?;
            }
        }
    }
    slow.wait().await;
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let trickle = &mut buffer[..usize::try_from(KIB.0).expect("small")];
    loop {
        tick.tick().await;
        match habit {
            Habit::GetStalled | Habit::GetStalledLate | Habit::PutStalledUpstream => {}
            Habit::GetTrickle => drop(stream.read_exact(trickle).await?),
            Habit::PutTrickle | Habit::PutTrickleLate => stream.write_all(trickle).await?,
        }
    }
}
