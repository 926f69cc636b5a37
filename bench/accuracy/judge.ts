import { boxes } from '../../model/api/index.ts';
import type { Task } from './tasks.ts';

/** Whether an answer is right: word for word, or as a box or point whose centre lies in the box that was asked for. */
export function isRight({ judge, answer }: Pick<Task, 'judge' | 'answer'>, got: string): boolean {
  if (judge === 'exact') return got.trim() === answer.trim();
  const wanted = placesIn(answer).boxes[0];
  const place = placesIn(got);
  const [box, point] = [place.boxes[0], place.points[0]];
  const centre = box ? { x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 } : point;
  if (!wanted || !centre) return false;
  return wanted.left <= centre.x && centre.x <= wanted.right && wanted.top <= centre.y && centre.y <= wanted.bottom;
}

/** The boxes and points of a text as shares of width and height. */
function placesIn(text: string) {
  return boxes(text, { width: 1, height: 1 });
}

/**
 * The 95 % confidence interval of a share of which `right` of `all` were seen (Wilson 1927): the p for which
 * |right / all - p| <= z sqrt(p (1 - p) / all), z = 1.96.
 */
export function interval(right: number, all: number): { low: number; high: number } {
  const z = 1.959963984540054;
  const share = right / all;
  const middle = share + (z * z) / (2 * all);
  const half = z * Math.sqrt((share * (1 - share)) / all + (z / (2 * all)) ** 2);
  const scale = 1 + (z * z) / all;
  return { low: right > 0 ? (middle - half) / scale : 0, high: right < all ? (middle + half) / scale : 1 };
}
