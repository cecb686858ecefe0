#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::host::link::Change;

fn keeper() -> Keeper {
    let host = NetnsHandle::current().unwrap();
    let mut state = State::new(host.key().unwrap(), host.inum());
    let sender = watch::channel(Arc::new(state.snapshot())).0;
    let updates = mpsc::channel(1).1;
    Keeper::new(host, state, sender, updates, Arc::new(Notify::new()))
}

fn notice(change: Change) -> Notice {
    Notice { nsid: None, change }
}

#[tokio::test]
async fn a_look_that_fails_is_wanted_again_after_a_pause() {
    let mut keeper = keeper();
    keeper.notices(vec![notice(Change::Lost)], false);
    assert_eq!(keeper.wanted, Need::All);
    keeper.due = Some(Instant::now());
    keeper.next_look().unwrap().abort();
    assert_eq!((keeper.wanted, keeper.due), (Need::Nothing, None));
    let mut pause = FIRST_PAUSE;
    for _ in 0..8 {
        let before = Instant::now();
        keeper.looked(Err(anyhow::anyhow!("no buffer")));
        assert_eq!(keeper.wanted, Need::All);
        assert!(keeper.due.unwrap() >= before + pause);
        assert!(keeper.due.unwrap() <= Instant::now() + LONGEST_PAUSE);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    keeper.wanted = Need::Nothing;
    keeper.due = None;
    keeper.looked(Ok(Observation::default()));
    assert_eq!((keeper.wanted, keeper.pause), (Need::Nothing, FIRST_PAUSE));
    // Of single processes: what is new is looked for instead.
    keeper.pids = vec![1];
    keeper.next_look().unwrap().abort();
    keeper.looked(Err(anyhow::anyhow!("no buffer")));
    assert_eq!(keeper.wanted, Need::New);
}

#[tokio::test]
async fn of_a_flood_of_notices_no_more_is_kept_than_there_is_room_for() {
    let mut keeper = keeper();
    for index in 0..10_000 {
        keeper.notices(vec![notice(Change::LinkGone(index))], true);
        assert!(keeper.replay.len() <= MOST_REPLAYED);
    }
    // What was let go is in a look at everything.
    assert_eq!(keeper.wanted, Need::All);
    keeper.notices(vec![notice(Change::LinkGone(1)); 100], false);
    assert!(keeper.replay.len() <= MOST_REPLAYED);
}
