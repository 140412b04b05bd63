//! The body of the fuzz target; the committed corpus runs through it in the tests too.

use stockade_wire::dns::{Data, Message};

use super::{
    Families, Family, Heard, Kind, MOST_ADDRESSES, Question, Rights, Transport, hear, kind,
};

/// Takes the input as a client's question, and as a resolver's answer.
pub fn names_message(data: &[u8]) {
    let Ok(name) = "pool.ntp.org".parse() else {
        return;
    };
    let rights = Rights::new([(name, Families::BOTH)], []);
    for transport in [Transport::Udp, Transport::Tcp] {
        for rights in [Some(&rights), None] {
            match hear(data, transport, rights) {
                Heard::Ignored => (),
                Heard::Answered { bytes, refused } => {
                    let reply = Message::read(&bytes).ok();
                    let whole =
                        reply.is_some_and(|reply| reply.response && reply.answers.is_empty());
                    assert!(whole, "an answer of our own can be read");
                    assert!(bytes.get(..2) == data.get(..2), "it is to this question");
                    assert!(bytes.len() <= 512, "no more than anyone takes");
                    let printable = |refused: super::Refused| {
                        refused.name.bytes().all(|byte| byte.is_ascii_graphic())
                    };
                    assert!(refused.is_none_or(printable), "it can be told");
                }
                Heard::Forward(question) => {
                    assert!(rights.is_some(), "a stranger's question goes nowhere");
                    assert!(
                        question.name().as_str() == "pool.ntp.org",
                        "nor another name"
                    );
                    assert!(Message::read(&question.upstream(7)).is_ok());
                    assert!(Message::read(&question.failed()).is_ok());
                }
            }
        }
    }
    let names = rights.names().cloned().collect::<Vec<_>>();
    for (name, family) in names
        .into_iter()
        .flat_map(|name| [Family::V4, Family::V6].map(|family| (name.clone(), family)))
    {
        if let Some(question) = Question::of_our_own(name, family, &rights) {
            answer(data, &question, &rights);
        }
    }
}

fn answer(data: &[u8], question: &Question, rights: &Rights) {
    let id = data.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
    assert!(question.read(id.wrapping_add(1), data).is_err(), "guessed");
    let Ok(answer) = question.read(id, data) else {
        return;
    };
    let judged = question.judge(&answer, rights);
    assert!(judged.admit.len() <= MOST_ADDRESSES);
    assert!(
        judged
            .admit
            .iter()
            .all(|address| kind(*address) == Kind::Public)
    );
    let reply = Message::read(&judged.reply).map(|reply| reply.answers);
    for record in reply.unwrap_or_default() {
        let address = match record.data {
            Data::A(v4) => v4.into(),
            Data::Aaaa(v6) => v6.into(),
            _ => continue,
        };
        assert!(judged.admit.contains(&address), "given out, never admitted");
    }
}
