//! What traffic control and XDP do to the packets of a bridge, as everybody may read it.

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcStats2};

use crate::links::{connect, netlink};
use crate::namespace::Error;

/// The queueing disciplines of a bridge and of its ports, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Queues {
    /// Each one, and what it has dropped so far: a counter of the kernel's that wraps.
    drops: Vec<(Queue, u32)>,
    programs: Vec<String>,
}

/// A queueing discipline: an interface's index, and its two handles there.
type Queue = (i32, TcHandle, TcHandle);

impl Queues {
    /// Looks at those of the bridge with that index, in the network namespace of the calling thread. Needs no privilege.
    ///
    /// # Errors
    /// When the kernel does not answer, as one without traffic control.
    pub async fn look(bridge: u32) -> Result<Self, Error> {
        let handle = connect()?;
        let links: Vec<LinkMessage> =
            handle.link().get().execute().try_collect().await.map_err(netlink("list the interfaces"))?;
        let on_the_way = |link: &&LinkMessage| {
            link.header.index == bridge || link.attributes.contains(&LinkAttribute::Controller(bridge))
        };
        let links: Vec<&LinkMessage> = links.iter().filter(on_the_way).collect();
        let queues: Vec<TcMessage> =
            handle.qdisc().get().execute().try_collect().await.map_err(netlink("list the queues"))?;
        let is_of = |queue: &&TcMessage| {
            links.iter().any(|link| i32::try_from(link.header.index) == Ok(queue.header.index))
        };
        let with_drops = |queue: &TcMessage| {
            ((queue.header.index, queue.header.parent, queue.header.handle), dropped(queue))
        };
        Ok(Self {
            drops: queues.iter().filter(is_of).map(with_drops).collect(),
            programs: links.iter().filter(|link| has_program(link)).filter_map(|link| name(link)).collect(),
        })
    }

    /// How many packets they have dropped since `before`. One that was not there then has begun with none.
    #[must_use]
    pub fn dropped_since(&self, before: &Self) -> u64 {
        let since = |(queue, drops): &(Queue, u32)| {
            let then = before.drops.iter().find(|(other, _)| other == queue).map_or(0, |(_, drops)| *drops);
            u64::from(drops.wrapping_sub(then))
        };
        self.drops.iter().map(since).sum()
    }

    /// The interfaces that have an XDP program, which counts nothing that could be read.
    #[must_use]
    pub fn programs(&self) -> &[String] {
        &self.programs
    }
}

fn dropped(queue: &TcMessage) -> u32 {
    let newer = queue.attributes.iter().find_map(|it| match it {
        TcAttribute::Stats2(all) => all.iter().find_map(|it| match it {
            TcStats2::Queue(queue) => Some(queue.drops),
            _ => None,
        }),
        _ => None,
    });
    newer.unwrap_or(0)
}

fn has_program(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|it| match it {
        LinkAttribute::Xdp(all) => {
            all.iter().any(|it| matches!(it, LinkXdp::Attached(kind) if *kind != XdpAttached::None))
        }
        _ => false,
    })
}

fn name(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|it| match it {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_wraps_and_a_new_one_are_told_right() {
        let queue = |index| (index, TcHandle::ROOT, TcHandle::UNSPEC);
        let of = |drops: &[(i32, u32)]| Queues {
            drops: drops.iter().map(|(index, drops)| (queue(*index), *drops)).collect(),
            programs: Vec::new(),
        };
        let before = of(&[(1, u32::MAX), (2, 7)]);
        assert_eq!(of(&[(1, 1), (2, 7), (3, 4)]).dropped_since(&before), 2 + 4);
        assert_eq!(of(&[]).dropped_since(&before), 0);
    }
}
